#include "engine/resampler.h"

#include <algorithm>

namespace tokenfuse {
void Resampler::load(Loader& loader, const FusionConfig& config, const std::string& projection,
                     const std::string& prefix, std::int64_t token_width, std::int64_t num_tokens,
                     bool may_fold) {
  extents_ = {config.width, token_width, num_tokens, config.num_latents, config.num_heads};
  may_fold_ = may_fold;
  has_folded_ = has_projected_ = false;
  for (const std::int64_t budget : config.token_budgets) {
    (folds(budget) ? has_folded_ : has_projected_) = true;
  }
  const auto read = [&](const std::string& name, std::initializer_list<std::int64_t> shape) {
    return loader.read(name, shape);
  };
  const MergeFolding folding(read, loader.pool(), loader.planning(), extents_, projection, prefix);
  const std::int64_t d = extents_.width, c = extents_.token_width;
  if (has_folded_) {
    folded_query_ = loader.keep(folding.folded_query());
    folded_output_ =
        loader.pack(folding.folded_output(), folding.folded_bias(), extents_.num_heads * c, d);
  }
  if (has_projected_) {
    query_ = loader.keep(folding.query());
    key_value_ = loader.pack(folding.key_value(), folding.key_value_bias(), c, 2 * d);
    output_ = loader.pack(folding.output(), folding.output_bias(), d, d);
  }
}

bool Resampler::folds(std::int64_t num_latents) const noexcept {
  return may_fold_ && folding_is_cheaper(extents_, num_latents);
}

void Resampler::layout(Arena& arena) noexcept {
  const std::int64_t merged =
      has_folded_ ? extents_.num_heads * extents_.token_width : extents_.width;
  const auto view = [&](std::int64_t rows, std::int64_t columns) {
    return View{arena.floats(static_cast<std::size_t>(rows * columns)), columns};
  };
  merged_ = view(extents_.num_latents, std::max(merged, extents_.width));
  if (has_projected_) key_values_ = view(extents_.num_tokens, 2 * extents_.width);
  // Only pictures are mapped.
  if (!may_fold_) return;
  lse_ = arena.floats(static_cast<std::size_t>(extents_.num_latents * extents_.num_heads));
  weights_ = arena.floats(
      static_cast<std::size_t>(extents_.num_latents * extents_.num_heads * extents_.num_tokens));
}

std::size_t Resampler::attention_scratch(const Compute& compute) const noexcept {
  return compute.attention_floats(extents_.num_tokens, extents_.width / extents_.num_heads);
}

std::size_t Resampler::merge_scratch() const noexcept {
  // The map of the projected form merges within a head.
  const std::int64_t width = std::max(extents_.token_width, extents_.width / extents_.num_heads);
  return merge_attention_scratch_floats(width, extents_.num_latents * extents_.num_heads);
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
  args.ldq = extents_.token_width;
  args.x = x.data;
  args.ldx = x.stride;
  args.o = merged_.data;
  args.ldo = extents_.token_width;
  args.lse = lse_;
  args.num_rows = num_latents * extents_.num_heads;
  args.num_tokens = count;
  args.width = extents_.token_width;
  compute.merge(args, map == nullptr ? nullptr : weights_);
  compute.linear(folded_output_, {merged_.data, extents_.num_heads * extents_.token_width}, f,
                 num_latents);
  if (map == nullptr) return;
  for (std::int64_t n = 0; n < num_latents; ++n) {
    for (std::int64_t s = 0; s < count; ++s) {
      float sum = 0.0f;
      for (std::int64_t head = 0; head < extents_.num_heads; ++head) {
        sum += weights_[(n * extents_.num_heads + head) * count + s];
      }
      map[n * count + s] = sum / static_cast<float>(extents_.num_heads);
    }
  }
}

void Resampler::run_projected(Compute& compute, View x, std::int64_t count,
                              std::int64_t num_latents, View f, float* map) noexcept {
  compute.linear(key_value_, x, key_values_, count);
  HeadsArgs heads{};
  heads.q = {const_cast<float*>(query_), extents_.width};
  heads.k = key_values_;
  heads.v = key_values_.columns(extents_.width);
  heads.o = {merged_.data, extents_.width};
  heads.num_heads = extents_.num_heads;
  heads.head_dim = extents_.width / extents_.num_heads;
  heads.num_queries = num_latents;
  heads.num_keys = count;
  heads.scale = 1.0f;
  if (map != nullptr) {
    std::fill(map, map + num_latents * count, 0.0f);
    for (std::int64_t head = 0; head < extents_.num_heads; ++head) {
      // The keys merged among themselves: only the weights of it are wanted.
      MergeAttentionArgs args{};
      args.q = query_ + head * heads.head_dim;
      args.ldq = extents_.width;
      args.x = key_values_.data + head * heads.head_dim;
      args.ldx = key_values_.stride;
      args.o = merged_.data;
      args.ldo = extents_.width;
      args.lse = lse_;
      args.num_rows = num_latents;
      args.num_tokens = count;
      args.width = heads.head_dim;
      compute.merge(args, weights_);
      compute.gated_add(1.0f / static_cast<float>(extents_.num_heads), weights_, 1.0f, map, map,
                        num_latents * count);
    }
  }
  compute.attend(heads);
  compute.linear(output_, {merged_.data, extents_.width}, f, num_latents);
}

}  // namespace tokenfuse
