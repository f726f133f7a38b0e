#include "engine/checks.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace tokenfuse {

const ModelConfig& supported(const ModelConfig& config) {
  if (config.fusion.kind != "joint_adaptive") {
    throw std::invalid_argument("fusion.kind is " + config.fusion.kind +
                                "; the engine has joint_adaptive");
  }
  if (config.fusion.resampler != "latent") {
    throw std::invalid_argument("fusion.resampler is " + config.fusion.resampler +
                                "; the engine has latent");
  }
  return config;
}

void check_budget(const ModelConfig& config, std::int64_t num_latents) {
  const auto& budgets = config.fusion.token_budgets;
  if (std::find(budgets.begin(), budgets.end(), num_latents) == budgets.end()) {
    throw std::invalid_argument(std::to_string(num_latents) +
                                " image tokens is not one of the model's budgets");
  }
}

namespace {

void check_ids(const ModelConfig& config, const char* name, Ids ids, std::int64_t most) {
  if (ids.count < 1 || ids.count > most) {
    throw std::invalid_argument(std::string(name) + ": " + std::to_string(ids.count) +
                                " ids; need 1 to " + std::to_string(most));
  }
  const auto last = ids.data + ids.count;
  if (std::any_of(ids.data, last,
                  [&](auto id) { return id < 0 || id >= config.text.vocab_size; })) {
    throw std::invalid_argument(std::string(name) + ": an id is outside of the vocabulary");
  }
}

}  // namespace

void check_text(const ModelConfig& config, Ids ids) {
  check_ids(config, "text", ids, config.text.max_tokens);
}

void check_answer(const ModelConfig& config, Ids ids) {
  check_ids(config, "answer", ids, config.decoder.max_tokens);
}

}  // namespace tokenfuse
