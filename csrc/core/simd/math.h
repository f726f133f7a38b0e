// exp, erf, tanh-GELU and GELU on any vector type V of this folder.
//
// Bounds are against the exact value, for all finite floats unless said:
//   exp: relative error below 2^-22 where the result is normal; 0 below -87.3.
//   erf: absolute error below 7e-7 (Abramowitz & Stegun 7.1.26: 1.5e-7, and rounding of five
//   terms of about 1; the worst found is 6.6e-7, at 0.038 without fused multiply-add).
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

template <typename V>
inline typename V::T erf_of(typename V::T x) noexcept {
  using T = typename V::T;
  const T a = V::abs(x);
  const T one = V::set1(1.0f);
  const T t = V::div(one, V::fma(V::set1(0.3275911f), a, one));
  T p = V::set1(1.061405429f);
  p = V::fma(p, t, V::set1(-1.453152027f));
  p = V::fma(p, t, V::set1(1.421413741f));
  p = V::fma(p, t, V::set1(-0.284496736f));
  p = V::fma(p, t, V::set1(0.254829592f));
  p = V::mul(p, t);
  const T e = exp_of<V>(V::sub(V::zero(), V::mul(a, a)));
  return V::copy_sign(V::sub(one, V::mul(p, e)), x);
}

// 0.5 x (1 + erf(x / sqrt 2)).
template <typename V>
inline typename V::T gelu_of(typename V::T x) noexcept {
  const typename V::T half = V::mul(V::set1(0.5f), x);
  return V::fma(half, erf_of<V>(V::mul(x, V::set1(0.70710678f))), half);
}

// 0.5 x (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3).
template <typename V>
inline typename V::T gelu_tanh_of(typename V::T x) noexcept {
  using T = typename V::T;
  const T cube = V::mul(V::mul(x, x), x);
  const T u = V::fma(V::set1(0.044715f), cube, x);
  const T e = exp_of<V>(V::mul(V::set1(-1.59576912f), u));
  return V::div(x, V::add(V::set1(1.0f), e));
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
