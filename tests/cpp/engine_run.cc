#include "engine_run.h"

namespace tokenfuse::test {

EngineRun::EngineRun(CpuEngine& engine, const Rows& image, std::int64_t budget,
                     const std::vector<std::int32_t>& text, const std::vector<std::int32_t>& answer)
    : f(budget, engine.config().fusion.width),
      map(budget, engine.config().vision.num_tokens()),
      fused(budget, engine.config().text.width),
      logits(static_cast<std::int64_t>(answer.size()), engine.config().text.vocab_size),
      log_probs(1, engine.config().decoder.max_tokens),
      scores(1, 3) {
  engine.encode_image(image.data(), budget, f.data(), map.data());
  engine.fuse(f.data(), budget, ids_of(text), fused.data());
  engine.logits(f.data(), budget, ids_of(text), ids_of(answer), logits.data());
  engine.score(f.data(), budget, ids_of(text),
               {ids_of(answer), Ids{answer.data(), 1}, ids_of(answer)}, scores.data());
  const std::int64_t limit = engine.config().decoder.max_tokens;
  ids.assign(static_cast<std::size_t>(limit), -1);
  const std::int64_t count =
      engine.generate(f.data(), budget, ids_of(text), limit, ids.data(), log_probs.data());
  ids.resize(static_cast<std::size_t>(count));
}

bool EngineRun::same_bits(const EngineRun& other) const {
  return f.same_bits(other.f) && map.same_bits(other.map) && fused.same_bits(other.fused) &&
         logits.same_bits(other.logits) && log_probs.same_bits(other.log_probs) &&
         scores.same_bits(other.scores) && ids == other.ids;
}

}  // namespace tokenfuse::test
