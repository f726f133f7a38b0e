// All that an engine says about one picture and one question, in buffers of exact size.
#pragma once

#include <vector>

#include "small_model.h"

namespace tokenfuse::test {

struct EngineRun {
  // Candidates of several lengths are scored; the first and the last are the whole answer.
  EngineRun(CpuEngine& engine, const Rows& image, std::int64_t budget,
            const std::vector<std::int32_t>& text, const std::vector<std::int32_t>& answer);

  bool same_bits(const EngineRun& other) const;

  Rows f, map, fused, logits, log_probs, scores;
  std::vector<std::int32_t> ids;
};

inline Ids ids_of(const std::vector<std::int32_t>& ids) {
  return {ids.data(), static_cast<std::int64_t>(ids.size())};
}

}  // namespace tokenfuse::test
