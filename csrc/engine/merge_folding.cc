#include "engine/merge_folding.h"

#include <algorithm>
#include <cmath>

namespace tokenfuse {
namespace {

using Matrix = std::vector<double>;

Matrix widened(const std::vector<float>& values) { return {values.begin(), values.end()}; }

std::vector<float> narrowed(const Matrix& values) { return {values.begin(), values.end()}; }

// c (m, n) += a (m, k) b (k, n), b with row stride ldb; each sum in the order of k.
void multiply(ThreadPool& pool, const double* a, std::int64_t lda, const double* b,
              std::int64_t ldb, double* c, std::int64_t ldc, std::int64_t m, std::int64_t k,
              std::int64_t n) noexcept {
  // Columns that stay in the nearest cache, for all of k.
  constexpr std::int64_t kColumns = 16, kRows = 32;
  const std::int64_t num_stripes = (n + kColumns - 1) / kColumns;
  const std::int64_t num_blocks = (m + kRows - 1) / kRows;
  pool.parallel_for(num_stripes * num_blocks, [&](std::int64_t task, int) {
    const std::int64_t first = task % num_stripes * kColumns, count = std::min(kColumns, n - first);
    const std::int64_t begin = task / num_stripes * kRows, end = std::min(m, begin + kRows);
    for (std::int64_t i = begin; i < end; ++i) {
      double sums[kColumns] = {};
      for (std::int64_t j = 0; j < count; ++j) sums[j] = c[i * ldc + first + j];
      if (count == kColumns) {
        for (std::int64_t p = 0; p < k; ++p) {
          for (std::int64_t j = 0; j < kColumns; ++j)
            sums[j] += a[i * lda + p] * b[p * ldb + first + j];
        }
      } else {
        for (std::int64_t p = 0; p < k; ++p) {
          for (std::int64_t j = 0; j < count; ++j)
            sums[j] += a[i * lda + p] * b[p * ldb + first + j];
        }
      }
      for (std::int64_t j = 0; j < count; ++j) c[i * ldc + first + j] = sums[j];
    }
  });
}

// A square matrix.
Matrix transposed(const Matrix& a, std::int64_t size) {
  Matrix result(a.size());
  for (std::int64_t i = 0; i < size; ++i) {
    for (std::int64_t j = 0; j < size; ++j) result[j * size + i] = a[i * size + j];
  }
  return result;
}

// y = W x + b for a weight (m, k).
Matrix applied(const Matrix& w, const Matrix& x, const Matrix& b) {
  Matrix y = b;
  for (std::size_t i = 0; i < y.size(); ++i) {
    for (std::size_t j = 0; j < x.size(); ++j) y[i] += w[i * x.size() + j] * x[j];
  }
  return y;
}

}  // namespace

bool folding_is_cheaper(const MergeExtents& extents, std::int64_t num_latents) noexcept {
  const std::int64_t d = extents.width, c = extents.token_width, s = extents.num_tokens;
  const std::int64_t n = num_latents, heads = extents.num_heads;
  const std::int64_t folded = 2 * heads * n * s * c + heads * n * c * d;
  const std::int64_t projected = 2 * s * c * d + 2 * n * s * d + n * d * d;
  return folded <= projected;
}

MergeFolding::MergeFolding(const Read& read, ThreadPool& pool, bool planning,
                           const MergeExtents& extents, const std::string& projection,
                           const std::string& prefix)
    : pool_(pool), planning_(planning), extents_(extents) {
  const std::int64_t d = extents.width, c = extents.token_width, latents = extents.num_latents;
  const std::string attention = prefix + ".attention";
  const auto square = [&](const char* name) { return widened(read(attention + name, {d, d})); };
  const auto line = [&](const std::string& name) { return widened(read(name, {d})); };
  const Matrix w1 = widened(read(projection + ".weight", {d, c}));
  const Matrix b1 = line(projection + ".bias"), bq = line(attention + ".query.bias"),
               bv = line(attention + ".value.bias");
  bo_ = line(attention + ".output.bias");
  read(attention + ".key.bias", {d});

  // Matrices live no longer than they are used: memory is shortest while a model loads.
  {
    const Matrix x = widened(read(prefix + ".latents", {latents, d}));
    const Matrix wq = transposed(square(".query.weight"), d);
    for (std::int64_t n = 0; n < latents; ++n) query_.insert(query_.end(), bq.begin(), bq.end());
    if (!planning) multiply(pool, x.data(), d, wq.data(), d, query_.data(), d, latents, d, d);
    const double scale = 1.0 / std::sqrt(static_cast<double>(d / extents.num_heads));
    for (double& value : query_) value *= scale;
  }
  const auto times_w1 = [&](const Matrix& a) {
    Matrix result(static_cast<std::size_t>(d * c));
    if (!planning) multiply(pool, a.data(), d, w1.data(), c, result.data(), c, d, d, c);
    return result;
  };
  wk1_ = times_w1(square(".key.weight"));
  {
    const Matrix wv = square(".value.weight");
    wv1_ = times_w1(wv);
    // The weights of a row sum to 1: the value bias and b1 pass through as they are.
    value_bias_ = applied(wv, b1, bv);
  }
  wo_ = square(".output.weight");
}

std::vector<float> MergeFolding::folded_query() const {
  const std::int64_t d = extents_.width, c = extents_.token_width, heads = extents_.num_heads;
  const std::int64_t h = d / heads;
  Matrix result(static_cast<std::size_t>(extents_.num_latents * heads * c));
  for (std::int64_t head = 0; head < heads && !planning_; ++head) {
    multiply(pool_, query_.data() + head * h, d, wk1_.data() + head * h * c, c,
             result.data() + head * c, heads * c, extents_.num_latents, h, c);
  }
  return narrowed(result);
}

std::vector<float> MergeFolding::folded_output() const {
  const std::int64_t d = extents_.width, c = extents_.token_width, heads = extents_.num_heads;
  const std::int64_t h = d / heads;
  std::vector<float> result(static_cast<std::size_t>(d * heads * c));
  Matrix own(static_cast<std::size_t>(d * c));
  for (std::int64_t head = 0; head < heads && !planning_; ++head) {
    std::fill(own.begin(), own.end(), 0.0);
    multiply(pool_, wo_.data() + head * h, d, wv1_.data() + head * h * c, c, own.data(), c, d, h,
             c);
    for (std::int64_t row = 0; row < d; ++row) {
      std::copy(&own[row * c], &own[row * c] + c, &result[(row * heads + head) * c]);
    }
  }
  return result;
}

std::vector<float> MergeFolding::folded_bias() const {
  return narrowed(applied(wo_, value_bias_, bo_));
}

std::vector<float> MergeFolding::query() const { return narrowed(query_); }

std::vector<float> MergeFolding::key_value() const {
  std::vector<float> result = narrowed(wk1_);
  result.insert(result.end(), wv1_.begin(), wv1_.end());
  return result;
}

std::vector<float> MergeFolding::key_value_bias() const {
  std::vector<float> result(value_bias_.size());
  result.insert(result.end(), value_bias_.begin(), value_bias_.end());
  return result;
}

std::vector<float> MergeFolding::output() const { return narrowed(wo_); }
std::vector<float> MergeFolding::output_bias() const { return narrowed(bo_); }

}  // namespace tokenfuse
