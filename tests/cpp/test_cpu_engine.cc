// CpuEngine: the whole model on every variant, number of threads and token budget.
#include <algorithm>
#include <memory>
#include <vector>

#include "engine/cpu_engine.h"
#include "engine_run.h"

namespace tokenfuse::test {
namespace {

// How far two variants may be apart, relative to the row's root mean square. Roundings are
// independent (Higham and Mary 2019): a product of K terms errs by about sqrt(K) eps / 2 of its
// row. Layers are pre-norm, so an error is carried on at about its relative size, and those of
// the `steps` products of the longest path add up as their squares do. Of two variants each errs
// on its own, and the worst of some thousand elements lies at four standard deviations: under
// 4 sqrt(steps K) eps. That is 2e-5 to 7e-5 here; 2e-6 is what was found.
double tolerance(const ModelConfig& config) {
  const FusionConfig& fusion = config.fusion;
  const std::int64_t self_layer = 6, resampler = 6, t5_layer = 6, decoder_layer = 9;
  const auto steps = static_cast<double>(
      static_cast<std::int64_t>(config.vision.stem_widths.size()) + 1 +
      self_layer * (config.vision.num_layers + fusion.num_layers) + 2 * resampler +
      t5_layer * config.text.num_layers + 6 * fusion.num_iterations + 1 +
      decoder_layer * config.decoder.num_layers + 1);
  const auto terms = static_cast<double>(
      std::max({config.vision.num_tokens(), config.vision.mlp_dim, fusion.mlp_dim}));
  return 4.0 * std::sqrt(steps * terms) * kEps;
}

double root_mean_square(const Rows& rows, std::int64_t i) {
  double sum = 0.0;
  for (std::int64_t j = 0; j < rows.width(); ++j) {
    sum += static_cast<double>(rows.at(i, j)) * rows.at(i, j) / static_cast<double>(rows.width());
  }
  return std::sqrt(sum);
}

void check_near(const char* what, const Rows& got, const Rows& want, double relative) {
  check_rows(what, got, [&](std::int64_t i, std::int64_t j) {
    return Expected{want.at(i, j), relative * root_mean_square(want, i)};
  });
}

double log_prob(const Rows& logits, std::int64_t row, std::int32_t id) {
  double sum = 0.0;
  for (std::int64_t j = 0; j < logits.width(); ++j) {
    sum += std::exp(static_cast<double>(logits.at(row, j)) - logits.at(row, id));
  }
  return -std::log(sum);
}

// What holds for one run whatever the weights are.
void check_consistent(const SmallModel& model, const EngineRun& run,
                      const std::vector<std::int32_t>& answer) {
  // Weights of a row of the map sum to 1; a mean of heads of sums over the tokens.
  const std::int64_t num_tokens = run.map.width();
  bool sums_to_one = true;
  for (std::int64_t i = 0; i < run.map.num_rows(); ++i) {
    double sum = 0.0;
    for (std::int64_t j = 0; j < num_tokens; ++j) sum += run.map.at(i, j);
    sums_to_one &= std::fabs(sum - 1.0) < static_cast<double>(num_tokens + 64) * kEps;
    CHECK(run.f.row_is_finite(i));
  }
  CHECK(sums_to_one);
  for (std::int64_t i = 0; i < run.logits.num_rows(); ++i) CHECK(run.logits.row_is_finite(i));
  // Each log-probability rounds as a float does, and so does their sum.
  double sum = 0.0, magnitude = 0.0;
  for (std::size_t a = 0; a < answer.size(); ++a) {
    const double one = log_prob(run.logits, static_cast<std::int64_t>(a), answer[a]);
    sum += one;
    magnitude += std::fabs(one) + 1.0;
  }
  const double bound = static_cast<double>(answer.size() + 8) * kEps * magnitude;
  CHECK(std::fabs(run.scores.at(0, 0) - sum) <= bound);
  CHECK(run.scores.at(0, 2) == run.scores.at(0, 0));
  const double first = log_prob(run.logits, 0, answer[0]);
  CHECK(std::fabs(run.scores.at(0, 1) - first) <= 16.0 * kEps * (std::fabs(first) + 1.0));
  // Generation ends with the end or at the limit; what lies behind is not written.
  const auto limit = static_cast<std::size_t>(model.config.decoder.max_tokens);
  CHECK(!run.ids.empty() && run.ids.size() <= limit);
  for (std::size_t i = 0; i < run.ids.size(); ++i) {
    const bool last = i + 1 == run.ids.size(), end = run.ids[i] == ModelConfig::kEosId;
    CHECK(run.ids[i] >= 0 && run.ids[i] < model.config.text.vocab_size);
    CHECK(last ? end || run.ids.size() == limit : !end);
    CHECK(run.log_probs.at(0, static_cast<std::int64_t>(i)) <= 0.0f);
  }
  for (std::size_t i = run.ids.size(); i < limit; ++i) {
    CHECK(std::isnan(run.log_probs.at(0, static_cast<std::int64_t>(i))));
  }
}

// Generation feeds one id at a time from the cache; the logits of the whole answer, without
// it, have the same ids on top.
void check_cache(CpuEngine& engine, const EngineRun& run, std::int64_t budget, const Ids& text) {
  const auto count = static_cast<std::int64_t>(run.ids.size());
  const Rows logits(count, engine.config().text.vocab_size);
  engine.logits(run.f.data(), budget, text, {run.ids.data(), count}, logits.data());
  const double near = tolerance(engine.config());
  for (std::int64_t i = 0; i < count; ++i) {
    const float* row = &logits.at(i, 0);
    const float top = *std::max_element(row, row + logits.width());
    const double bound = near * root_mean_square(logits, i);
    CHECK(static_cast<double>(top - row[run.ids[i]]) <= 2.0 * bound);
    CHECK(std::fabs(run.log_probs.at(0, i) - log_prob(logits, i, run.ids[i])) <= 2.0 * bound);
  }
}

void check_model(const char* name, const SmallModel& model) {
  const ModelConfig& config = model.config;
  const Rows image = model.image(1);
  const auto text = model.ids(2, config.text.max_tokens);
  const auto answer = model.ids(3, config.decoder.max_tokens);
  for (const std::int64_t budget : config.fusion.token_budgets) {
    std::unique_ptr<EngineRun> scalar;
    for (const Isa isa : runnable_isas()) {
      std::unique_ptr<EngineRun> one;
      for (const int num_threads : {1, 2, 5}) {
        set_case("%s, %s, budget %d, %d threads", name, isa_name(isa), static_cast<int>(budget),
                 num_threads);
        CpuEngine engine(config, model.tensors, num_threads, isa);
        CHECK(engine.isa() == isa && engine.num_threads() == num_threads);
        auto run = std::make_unique<EngineRun>(engine, image, budget, text, answer);
        if (one != nullptr) {
          CHECK(run->same_bits(*one));
          continue;
        }
        check_consistent(model, *run, answer);
        check_cache(engine, *run, budget, ids_of(text));
        one = std::move(run);
      }
      if (scalar != nullptr) {
        const double near = tolerance(config);
        check_near("f", one->f, scalar->f, near);
        check_near("map", one->map, scalar->map, near);
        check_near("fused", one->fused, scalar->fused, near);
        check_near("logits", one->logits, scalar->logits, near);
      } else {
        scalar = std::move(one);
      }
    }
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  check_model("wide", SmallModel(wide_config()));
  check_model("odd", SmallModel(odd_config()));
  check_model("projected", SmallModel(projected_config()));
  return finish("cpu_engine");
}
