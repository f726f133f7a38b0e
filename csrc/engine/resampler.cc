#include "engine/resampler.h"

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

void Resampler::load(Loader& loader, const FusionConfig& config, const std::string& projection,
                     const std::string& prefix, std::int64_t token_width, std::int64_t num_tokens,
                     bool may_fold) {
  width_ = config.width;
  token_width_ = token_width;
  num_tokens_ = num_tokens;
  num_latents_ = config.num_latents;
  num_heads_ = config.num_heads;
  may_fold_ = may_fold;
  has_folded_ = has_projected_ = false;
  for (const std::int64_t budget : config.token_budgets) {
    (folds(budget) ? has_folded_ : has_projected_) = true;
  }
  const std::int64_t d = width_, c = token_width_, heads = num_heads_, h = d / heads;
  const std::string attention = prefix + ".attention";
  const auto square = [&](const char* name) {
    return widened(loader.read(attention + name, {d, d}));
  };
  const auto line = [&](const std::string& name) { return widened(loader.read(name, {d})); };
  const Matrix w1 = widened(loader.read(projection + ".weight", {d, c}));
  const Matrix b1 = line(projection + ".bias"), bq = line(attention + ".query.bias"),
               bv = line(attention + ".value.bias"), bo = line(attention + ".output.bias");
  loader.read(attention + ".key.bias", {d});

  // Matrices live no longer than they are used: memory is shortest while a model loads.
  Matrix query;
  {
    const Matrix latents = widened(loader.read(prefix + ".latents", {num_latents_, d}));
    const Matrix wq = transposed(square(".query.weight"), d);
    for (std::int64_t n = 0; n < num_latents_; ++n) query.insert(query.end(), bq.begin(), bq.end());
    if (!loader.planning()) {
      multiply(loader.pool(), latents.data(), d, wq.data(), d, query.data(), d, num_latents_, d, d);
    }
    const double scale = 1.0 / std::sqrt(static_cast<double>(h));
    for (double& value : query) value *= scale;
  }
  const auto times_w1 = [&](const Matrix& a) {
    Matrix result(static_cast<std::size_t>(d * c));
    if (!loader.planning()) {
      multiply(loader.pool(), a.data(), d, w1.data(), c, result.data(), c, d, d, c);
    }
    return result;
  };
  const Matrix wk1 = times_w1(square(".key.weight"));  // (D, C)
  Matrix wv1, value_bias;
  {
    const Matrix wv = square(".value.weight");
    wv1 = times_w1(wv);
    // The weights of a row sum to 1: the value bias and b1 pass through as they are.
    value_bias = applied(wv, b1, bv);
  }
  const Matrix wo = square(".output.weight");

  if (has_folded_) {
    Matrix folded_query(static_cast<std::size_t>(num_latents_ * heads * c));
    std::vector<float> folded(static_cast<std::size_t>(d * heads * c));
    Matrix own(static_cast<std::size_t>(d * c));
    for (std::int64_t head = 0; head < heads && !loader.planning(); ++head) {
      multiply(loader.pool(), query.data() + head * h, d, wk1.data() + head * h * c, c,
               folded_query.data() + head * c, heads * c, num_latents_, h, c);
      std::fill(own.begin(), own.end(), 0.0);
      multiply(loader.pool(), wo.data() + head * h, d, wv1.data() + head * h * c, c, own.data(), c,
               d, h, c);
      for (std::int64_t row = 0; row < d; ++row) {
        std::copy(&own[row * c], &own[row * c] + c, &folded[(row * heads + head) * c]);
      }
    }
    folded_query_ = loader.keep(narrowed(folded_query));
    folded_output_ = loader.pack(folded, narrowed(applied(wo, value_bias, bo)), heads * c, d);
  }
  if (has_projected_) {
    Matrix weight = wk1;
    weight.insert(weight.end(), wv1.begin(), wv1.end());
    Matrix bias(static_cast<std::size_t>(d));
    bias.insert(bias.end(), value_bias.begin(), value_bias.end());
    query_ = loader.keep(narrowed(query));
    key_value_ = loader.pack(narrowed(weight), narrowed(bias), c, 2 * d);
    output_ = loader.pack(narrowed(wo), narrowed(bo), d, d);
  }
}

bool Resampler::folds(std::int64_t num_latents) const noexcept {
  const std::int64_t d = width_, c = token_width_, n = num_latents, s = num_tokens_;
  const std::int64_t folded = 2 * num_heads_ * n * s * c + num_heads_ * n * c * d;
  const std::int64_t projected = 2 * s * c * d + 2 * n * s * d + n * d * d;
  return may_fold_ && folded <= projected;
}

void Resampler::layout(Arena& arena) noexcept {
  const std::int64_t merged = has_folded_ ? num_heads_ * token_width_ : width_;
  const auto view = [&](std::int64_t rows, std::int64_t columns) {
    return View{arena.floats(static_cast<std::size_t>(rows * columns)), columns};
  };
  merged_ = view(num_latents_, std::max(merged, width_));
  if (has_projected_) key_values_ = view(num_tokens_, 2 * width_);
  // Only pictures are mapped.
  if (!may_fold_) return;
  lse_ = arena.floats(static_cast<std::size_t>(num_latents_ * num_heads_));
  weights_ = arena.floats(static_cast<std::size_t>(num_latents_ * num_heads_ * num_tokens_));
}

std::size_t Resampler::attention_scratch(const Compute& compute) const noexcept {
  return compute.attention_floats(num_tokens_, width_ / num_heads_);
}

std::size_t Resampler::merge_scratch() const noexcept {
  // The map of the projected form merges within a head.
  const std::int64_t width = std::max(token_width_, width_ / num_heads_);
  return merge_attention_scratch_floats(width, num_latents_ * num_heads_);
}

void Resampler::run(Compute& compute, View x, std::int64_t count, std::int64_t num_latents, View f,
                    float* map) noexcept {
  if (folds(num_latents)) {
    run_folded(compute, x, count, num_latents, f, map);
  } else {
    run_projected(compute, x, count, num_latents, f, map);
  }
}

void Resampler::run_folded(Compute& compute, View x, std::int64_t count, std::int64_t num_latents,
                           View f, float* map) noexcept {
  MergeAttentionArgs args{};
  args.q = folded_query_;
  args.ldq = token_width_;
  args.x = x.data;
  args.ldx = x.stride;
  args.o = merged_.data;
  args.ldo = token_width_;
  args.lse = lse_;
  args.num_rows = num_latents * num_heads_;
  args.num_tokens = count;
  args.width = token_width_;
  compute.merge(args, map == nullptr ? nullptr : weights_);
  compute.linear(folded_output_, {merged_.data, num_heads_ * token_width_}, f, num_latents);
  if (map == nullptr) return;
  for (std::int64_t n = 0; n < num_latents; ++n) {
    for (std::int64_t s = 0; s < count; ++s) {
      float sum = 0.0f;
      for (std::int64_t head = 0; head < num_heads_; ++head) {
        sum += weights_[(n * num_heads_ + head) * count + s];
      }
      map[n * count + s] = sum / static_cast<float>(num_heads_);
    }
  }
}

void Resampler::run_projected(Compute& compute, View x, std::int64_t count,
                              std::int64_t num_latents, View f, float* map) noexcept {
  compute.linear(key_value_, x, key_values_, count);
  HeadsArgs heads{};
  heads.q = {const_cast<float*>(query_), width_};
  heads.k = key_values_;
  heads.v = key_values_.columns(width_);
  heads.o = {merged_.data, width_};
  heads.num_heads = num_heads_;
  heads.head_dim = width_ / num_heads_;
  heads.num_queries = num_latents;
  heads.num_keys = count;
  heads.scale = 1.0f;
  if (map != nullptr) {
    std::fill(map, map + num_latents * count, 0.0f);
    for (std::int64_t head = 0; head < num_heads_; ++head) {
      // The keys merged among themselves: only the weights of it are wanted.
      MergeAttentionArgs args{};
      args.q = query_ + head * heads.head_dim;
      args.ldq = width_;
      args.x = key_values_.data + head * heads.head_dim;
      args.ldx = key_values_.stride;
      args.o = merged_.data;
      args.ldo = width_;
      args.lse = lse_;
      args.num_rows = num_latents;
      args.num_tokens = count;
      args.width = heads.head_dim;
      compute.merge(args, weights_);
      compute.gated_add(1.0f / static_cast<float>(num_heads_), weights_, 1.0f, map, map,
                        num_latents * count);
    }
  }
  compute.attend(heads);
  compute.linear(output_, {merged_.data, width_}, f, num_latents);
}

}  // namespace tokenfuse
