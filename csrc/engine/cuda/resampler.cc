#include "engine/cuda/resampler.h"

#include <algorithm>

#include "engine/cuda/steps.h"

namespace tokenfuse::cuda {

void Resampler::load(Loader& loader, const FusionConfig& config, const std::string& projection,
                     const std::string& prefix, std::int64_t token_width, std::int64_t num_tokens,
                     bool may_fold) {
  extents_ = {config.width, token_width, num_tokens, config.num_latents, config.num_heads};
  budgets_ = config.token_budgets;
  may_fold_ = may_fold;
  has_folded_ = has_projected_ = false;
  for (const std::int64_t budget : budgets_) {
    (folds(static_cast<int>(budget)) ? has_folded_ : has_projected_) = true;
  }
  const auto read = [&](const std::string& name, std::initializer_list<std::int64_t> shape) {
    return loader.read(name, shape);
  };
  const MergeFolding folding(read, loader.pool(), loader.planning(), extents_, projection, prefix);
  const std::int64_t d = extents_.width, c = extents_.token_width, n = extents_.num_latents;
  if (may_fold_) {
    folded_query_ = loader.keep16(folding.folded_query(), n * extents_.num_heads, c);
  }
  if (has_folded_) {
    folded_output_ =
        loader.pack(folding.folded_output(), folding.folded_bias(), extents_.num_heads * c, d);
  }
  if (has_projected_) {
    query_ = loader.keep16(folding.query(), n, d);
    key_value_ = loader.pack(folding.key_value(), folding.key_value_bias(), c, 2 * d);
    output_ = loader.pack(folding.output(), folding.output_bias(), d, d);
  }
}

bool Resampler::folds(int num_latents) const noexcept {
  return may_fold_ && folding_is_cheaper(extents_, num_latents);
}

void Resampler::layout(DeviceArena& arena, const DeviceInfo& device, Type type, int batch) {
  const auto take16 = [&](std::int64_t count) {
    return arena.bytes(static_cast<std::size_t>(batch * count) * sizeof(std::uint16_t));
  };
  const std::int64_t c = extents_.token_width, s = extents_.num_tokens;
  const std::int64_t rows = extents_.num_latents * extents_.num_heads;
  merged_ = take16(std::max(may_fold_ ? rows * c : 0, extents_.num_latents * extents_.width));
  if (has_projected_) key_values_ = take16(s * 2 * extents_.width);
  if (!may_fold_) return;
  tokens_ = take16(s * c);
  lse_ = arena.many<float>(batch * rows);
  weights_ = arena.many<float>(batch * rows * s);
  workspace_ = arena.bytes(workspace_bytes(device, type, batch));
}

// Of all budgets and batches: how tokens are split changes with the rows.
std::size_t Resampler::workspace_bytes(const DeviceInfo& device, Type type, int batch) const {
  std::size_t most = 0;
  for (const std::int64_t budget : budgets_) {
    for (int some = 1; some <= batch; ++some) {
      MergeAttentionArgs args{};
      args.type = type;
      args.batch = some;
      args.rows = static_cast<int>(budget * extents_.num_heads);
      args.tokens = static_cast<int>(extents_.num_tokens);
      args.width = static_cast<int>(extents_.token_width);
      most = std::max(most, merge_attention_workspace_bytes(device, args));
    }
  }
  return most;
}

MergeAttentionArgs Resampler::merge_args(const Compute& compute, int batch, int count,
                                         int num_latents) const {
  MergeAttentionArgs args{};
  args.type = compute.type;
  args.q = folded_query_;
  args.x = tokens_;
  args.o = merged_;
  args.lse = lse_;
  args.workspace = workspace_;
  args.batch = batch;
  args.rows = num_latents * static_cast<int>(extents_.num_heads);
  args.tokens = count;
  args.width = static_cast<int>(extents_.token_width);
  return args;
}

void Resampler::run(const Compute& compute, const Norm& norm, const float* x, int batch, int count,
                    const int* key_counts, int num_latents, float* f, float* map) const {
  const bool folded = folds(num_latents);
  if (folded || map != nullptr) {
    compute.norm16(norm, x, batch * count, tokens_);
    MergeAttentionArgs args = merge_args(compute, batch, count, num_latents);
    if (map != nullptr) args.weights = weights_;
    merge_attention(*compute.stream, compute.device, args);
  }
  if (map != nullptr) {
    average_heads(*compute.stream, weights_, batch * num_latents,
                  static_cast<int>(extents_.num_heads), count, map);
  }
  if (folded) {
    // The heads of a latent lie side by side.
    compute.linear(folded_output_, batch * num_latents, {.x16 = merged_, .y32 = f});
    return;
  }
  const std::int64_t d = extents_.width;
  compute.linear(key_value_, batch * count, {.x32 = x, .norm = &norm, .y16 = key_values_});
  AttentionArgs heads{};
  heads.type = compute.type;
  heads.q = query_;
  heads.k = key_values_;
  heads.v = columns(key_values_, d);
  heads.o = merged_;
  heads.ldq = heads.ldo = d;
  heads.ldk = heads.ldv = 2 * d;
  // The latents are the same for all of the batch.
  heads.batch_stride_q = 0;
  heads.batch_stride_k = heads.batch_stride_v = count * 2 * d;
  heads.batch_stride_o = num_latents * d;
  heads.key_counts = key_counts;
  heads.batch = batch;
  heads.num_heads = static_cast<int>(extents_.num_heads);
  heads.head_dim = static_cast<int>(d / extents_.num_heads);
  heads.num_queries = num_latents;
  heads.num_keys = count;
  heads.scale = 1.0f;
  attention(*compute.stream, compute.device, heads);
  compute.linear(output_, batch * num_latents, {.x16 = merged_, .y32 = f});
}

}  // namespace tokenfuse::cuda
