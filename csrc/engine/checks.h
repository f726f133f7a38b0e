// What both engines ask of their arguments.
#pragma once

#include <cstdint>

#include "engine/config.h"

namespace tokenfuse {

struct Ids {
  const std::int32_t* data;
  std::int64_t count;
};

// All throw std::invalid_argument. A model that the engines have; a budget of the model; 1 to
// text.max_tokens and 1 to decoder.max_tokens ids, all of the vocabulary.
const ModelConfig& supported(const ModelConfig& config);
void check_budget(const ModelConfig& config, std::int64_t num_latents);
void check_text(const ModelConfig& config, Ids ids);
void check_answer(const ModelConfig& config, Ids ids);

}  // namespace tokenfuse
