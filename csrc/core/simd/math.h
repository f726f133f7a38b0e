// exp, GELU and tanh-GELU on any vector type V of this folder.
//
// Bounds are against the exact value, for all finite floats unless said:
//   exp: relative error below 2^-22 where the result is normal; 0 below -87.3.
//   gelu, both forms: absolute error below 2e-7 max(1, |x|); the worst found is 1.1e-7.
#pragma once

namespace tokenfuse {

template <typename V>
inline typename V::T exp_of(typename V::T x) noexcept {
  using T = typename V::T;
  const T lowest = V::set1(-87.33654f);  // exp of it is the least normal float
  const T clamped = V::min(V::set1(88.72283f), V::max(lowest, x));
  const T n = V::round(V::mul(clamped, V::set1(1.44269504f)));
  // ln 2 in two parts: n times the first is exact.
  T r = V::fma(n, V::set1(-0.693359375f), clamped);
  r = V::fma(n, V::set1(2.12194440e-4f), r);
  // Taylor up to r^7 on |r| <= ln(2)/2: the rest is below 2^-27.
  T p = V::set1(1.0f / 5040.0f);
  p = V::fma(p, r, V::set1(1.0f / 720.0f));
  p = V::fma(p, r, V::set1(1.0f / 120.0f));
  p = V::fma(p, r, V::set1(1.0f / 24.0f));
  p = V::fma(p, r, V::set1(1.0f / 6.0f));
  p = V::fma(p, r, V::set1(0.5f));
  p = V::fma(p, r, V::set1(1.0f));
  p = V::fma(p, r, V::set1(1.0f));
  // 2^n in two steps: n = 128 has no float of its own.
  const T half = V::round(V::mul(n, V::set1(0.5f)));
  const T y = V::scale_by_power(V::scale_by_power(p, half), V::sub(n, half));
  return V::where_below(x, lowest, V::zero(), y);
}

// max(x, 0) - t s(t), t = |x| held to 6: GELU without division and without a branch. s is the
// share of x that is left at -t, 0.5 erfc(t / sqrt 2) or 1 / (1 + exp(2 u)) with
// u = sqrt(2/pi) (t + 0.044715 t^3): at most 1/2 and smooth, so that its logarithm to the base 2
// is a polynomial q of degree 8, with the least largest error of the whole: 4e-9 and 4.2e-8
// max(1, |x|). At 6 it is below 2^-29, and 6 s what is left of -infinity.
template <typename V>
inline typename V::T gelu_by(typename V::T x, const float (&q)[9]) noexcept {
  using T = typename V::T;
  const T t = V::min(V::set1(6.0f), V::abs(x));
  T p = V::set1(q[8]);
  for (int i = 7; i >= 0; --i) p = V::fma(p, t, V::set1(q[i]));
  // 2^p: the whole part to the exponent, the rest by a polynomial within 2^-23.6 of it.
  const T n = V::round(p);
  const T r = V::sub(p, n);
  T e = V::set1(1.32764725e-3f);
  e = V::fma(e, r, V::set1(9.67554096e-3f));
  e = V::fma(e, r, V::set1(0.0555071309f));
  e = V::fma(e, r, V::set1(0.240221202f));
  e = V::fma(e, r, V::set1(0.693146944f));
  e = V::fma(e, r, V::set1(1.00000012f));
  const T share = V::scale_by_power(e, n);
  return V::fma(V::sub(V::zero(), t), share, V::max(V::zero(), x));
}

inline constexpr float kGeluShare[9] = {-0.999999344f,   -1.15111589f,   -0.459152341f,
                                        -0.052629102f,   7.22947624e-3f, -2.52369995e-4f,
                                        -1.41525787e-4f, 3.04363384e-5f, -2.1161336e-6f};
inline constexpr float kGeluTanhShare[9] = {-1.00000763f,    -1.15095818f,   -0.46015361f,
                                            -0.0486745201f,  3.10341199e-3f, 4.19851486e-3f,
                                            -2.59551615e-3f, 4.71772946e-4f, -2.90601165e-5f};

// 0.5 x (1 + erf(x / sqrt 2)).
template <typename V>
inline typename V::T gelu_of(typename V::T x) noexcept {
  return gelu_by<V>(x, kGeluShare);
}

// 0.5 x (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3).
template <typename V>
inline typename V::T gelu_tanh_of(typename V::T x) noexcept {
  return gelu_by<V>(x, kGeluTanhShare);
}

// 2^t for t <= 0 within a relative 4e-6, for weights that are rounded to 16 bits next; 2^-60 below
// it, far from the subnormal floats, which cost a hundred cycles each. The polynomial has the least
// largest relative error of its degree on [-1/2, 1/2].
template <typename V>
inline typename V::T exp2_near_of(typename V::T t) noexcept {
  const typename V::T held = V::max(V::set1(-60.0f), t);
  const typename V::T n = V::round(held);
  const typename V::T f = V::sub(held, n);
  typename V::T p = V::set1(0.00957010221f);
  p = V::fma(p, f, V::set1(0.0559178628f));
  p = V::fma(p, f, V::set1(0.240247443f));
  p = V::fma(p, f, V::set1(0.693121791f));
  p = V::fma(p, f, V::set1(0.999999285f));
  return V::scale_by_power(p, n);
}

// x (1/2 + u Q(u^2)), u = x held to +-3.9: GELU without exponential and division, for results
// that are rounded to 8 bits next. Q is the polynomial of degree 6 with the least largest error of
// the whole, which is below 2e-4 max(1, |x|) for every float, in both forms.
template <typename V>
inline typename V::T gelu_near_of(typename V::T x, const float (&q)[7]) noexcept {
  using T = typename V::T;
  const T u = V::max(V::set1(-3.9f), V::min(V::set1(3.9f), x));
  const T v = V::mul(u, u);
  T p = V::set1(q[6]);
  for (int i = 5; i >= 0; --i) p = V::fma(p, v, V::set1(q[i]));
  return V::mul(x, V::fma(u, p, V::set1(0.5f)));
}

inline constexpr float kGeluNear[7] = {0.398085594f,    -0.0648694485f, 8.91377218e-3f,
                                       -8.44508992e-4f, 5.12369625e-5f, -1.77047957e-6f,
                                       2.62711808e-8f};
inline constexpr float kGeluTanhNear[7] = {0.39796558f,     -0.0649664402f, 8.99516046e-3f,
                                           -8.62513902e-4f, 5.30241086e-5f, -1.85465024e-6f,
                                           2.78055499e-8f};

}  // namespace tokenfuse
