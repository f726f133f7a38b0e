// CpuEngine's calls: many callers at once, no trace of the call before, refused arguments.
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/half.h"
#include "engine_run.h"

namespace tokenfuse::test {
namespace {

struct Question {
  Rows image;
  std::int64_t budget;
  std::vector<std::int32_t> text, answer;

  EngineRun ask(CpuEngine& engine) const { return {engine, image, budget, text, answer}; }
};

// Of several lengths and budgets.
std::vector<Question> questions_for(const SmallModel& model) {
  const ModelConfig& config = model.config;
  std::vector<Question> questions;
  for (std::uint64_t i = 0; i < 4; ++i) {
    const auto& budgets = config.fusion.token_budgets;
    const std::int64_t text =
        i == 0 ? 1 : 1 + static_cast<std::int64_t>(7 * i) % config.text.max_tokens;
    const std::int64_t answer = 1 + static_cast<std::int64_t>(3 * i) % config.decoder.max_tokens;
    questions.push_back({model.image(10 + i), budgets[i % budgets.size()], model.ids(20 + i, text),
                         model.ids(30 + i, answer)});
  }
  return questions;
}

// Answers of engines that were asked nothing else.
std::vector<EngineRun> alone(const SmallModel& model, const std::vector<Question>& questions,
                             int num_threads, Isa isa) {
  std::vector<EngineRun> runs;
  for (const Question& question : questions) {
    CpuEngine engine(model.config, model.tensors, num_threads, isa);
    runs.push_back(question.ask(engine));
  }
  return runs;
}

void check_callers(const SmallModel& model, int num_threads, Isa isa) {
  set_case("%s, callers of %d threads", isa_name(isa), num_threads);
  const std::vector<Question> questions = questions_for(model);
  const std::vector<EngineRun> want = alone(model, questions, 1, isa);
  CpuEngine engine(model.config, model.tensors, num_threads, isa);
  constexpr std::size_t kNumCallers = 3;
  // A caller's own place, read after it is joined.
  int wrong[kNumCallers] = {};
  std::vector<std::thread> callers;
  for (std::size_t caller = 0; caller < kNumCallers; ++caller) {
    callers.emplace_back([&, caller] {
      for (std::size_t i = 0; i < questions.size(); ++i) {
        const std::size_t which = (i + caller) % questions.size();
        if (!questions[which].ask(engine).same_bits(want[which])) ++wrong[caller];
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const int count : wrong) CHECK(count == 0);
}

// The workspace is used again and again: what a call left there, NaN too, must not be read.
void check_no_trace(const SmallModel& model, Isa isa) {
  set_case("%s, no trace", isa_name(isa));
  const std::vector<Question> questions = questions_for(model);
  const std::vector<EngineRun> want = alone(model, questions, 2, isa);
  CpuEngine engine(model.config, model.tensors, 2, isa);
  Question bad = {model.image(1), model.config.fusion.num_latents,
                  model.ids(2, model.config.text.max_tokens),
                  model.ids(3, model.config.decoder.max_tokens)};
  bad.image.fill(kNan);
  for (std::size_t i = 0; i < questions.size(); ++i) {
    const EngineRun nan = bad.ask(engine);
    CHECK(nan.f.row_is_nan(0) && nan.logits.row_is_nan(0));
    CHECK(questions[i].ask(engine).same_bits(want[i]));
  }
}

// A map is not needed, and no answer at all is an answer.
void check_optional(const SmallModel& model, Isa isa) {
  set_case("%s, optional", isa_name(isa));
  CpuEngine engine(model.config, model.tensors, 2, isa);
  const std::vector<Question> questions = questions_for(model);
  const Question& question = questions[1];
  const EngineRun run = question.ask(engine);
  const Rows f(question.budget, model.config.fusion.width);
  engine.encode_image(question.image.data(), question.budget, f.data(), nullptr);
  CHECK(f.same_bits(run.f));
  const Ids text = ids_of(question.text);
  CHECK(engine.generate(f.data(), question.budget, text, 0, nullptr, nullptr) == 0);
  engine.score(f.data(), question.budget, text, {}, nullptr);
  // Fewer ids than wanted are the first of them.
  const Rows log_prob(1, 1);
  std::int32_t id = -1;
  CHECK(engine.generate(f.data(), question.budget, text, 1, &id, log_prob.data()) == 1);
  CHECK(id == run.ids[0] && log_prob.at(0, 0) == run.log_probs.at(0, 0));
}

// Weights as half floats are the floats that they stand for.
void check_half(const SmallModel& model, Isa isa) {
  set_case("%s, half", isa_name(isa));
  TensorMap halves = model.tensors, floats = model.tensors;
  std::vector<std::vector<std::uint16_t>> half_values;
  std::vector<std::vector<float>> float_values;
  for (const auto& [name, tensor] : model.tensors) {
    std::size_t count = 1;
    for (const std::int64_t size : tensor.shape) count *= static_cast<std::size_t>(size);
    auto& half = half_values.emplace_back();
    auto& wide = float_values.emplace_back();
    for (std::size_t i = 0; i < count; ++i) {
      // Of both signs, from 2^-7 to 2^-2.
      half.push_back(static_cast<std::uint16_t>((i % 2 << 15) | (0x2000 + i * 37 % 0x1400)));
      wide.push_back(half_to_float(half.back()));
    }
    halves[name] = {half.data(), true, tensor.shape};
    floats[name] = {wide.data(), false, tensor.shape};
  }
  CpuEngine from_halves(model.config, halves, 1, isa), from_floats(model.config, floats, 1, isa);
  const std::vector<Question> questions = questions_for(model);
  const Question& question = questions[2];
  CHECK(question.ask(from_halves).same_bits(question.ask(from_floats)));
}

void check_refusals(const SmallModel& model) {
  set_case("refusals");
  using Refused = std::invalid_argument;
  const auto make = [](const ModelConfig& config, const TensorMap& tensors) {
    CpuEngine engine(config, tensors, 2, Isa::kScalar);
  };
  ModelConfig other = model.config;
  other.fusion.kind = "concat";
  CHECK_THROWS(Refused, make(other, model.tensors));
  other = model.config;
  other.fusion.resampler = "mlp";
  CHECK_THROWS(Refused, make(other, model.tensors));
  // Without any one tensor, or with one of another shape.
  for (const auto& [name, tensor] : model.tensors) {
    set_case("refusals, %s", name.c_str());
    // Read for weighted combinations alone.
    if (name.find(".lambda_") != std::string::npos || name.find(".mu") != std::string::npos)
      continue;
    TensorMap tensors = model.tensors;
    tensors[name].shape.push_back(1);
    CHECK_THROWS(Refused, make(model.config, tensors));
    tensors.erase(name);
    CHECK_THROWS(Refused, make(model.config, tensors));
  }
  set_case("refusals, arguments");
  CpuEngine engine(model.config, model.tensors, 1, Isa::kScalar);
  for (const std::int64_t budget : {-1, 0, 2, 6})
    CHECK_THROWS(Refused, check_budget(engine.config(), budget));
  const std::vector<std::int32_t> many(100, 2);
  const std::int32_t vocab = static_cast<std::int32_t>(model.config.text.vocab_size);
  for (const std::int32_t id : {-1, vocab}) {
    CHECK_THROWS(Refused, check_text(engine.config(), {&id, 1}));
    CHECK_THROWS(Refused, check_answer(engine.config(), {&id, 1}));
  }
  const std::int64_t longest_text = model.config.text.max_tokens;
  const std::int64_t longest_answer = model.config.decoder.max_tokens;
  CHECK_THROWS(Refused, check_text(engine.config(), {many.data(), 0}));
  CHECK_THROWS(Refused, check_text(engine.config(), {many.data(), longest_text + 1}));
  CHECK_THROWS(Refused, check_answer(engine.config(), {many.data(), 0}));
  CHECK_THROWS(Refused, check_answer(engine.config(), {many.data(), longest_answer + 1}));
  for (const std::int64_t budget : model.config.fusion.token_budgets)
    check_budget(engine.config(), budget);
  check_text(engine.config(), {many.data(), longest_text});
  check_answer(engine.config(), {many.data(), longest_answer});
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  const SmallModel odd(odd_config()), projected(projected_config());
  for (const tokenfuse::Isa isa : runnable_isas()) {
    check_callers(odd, 1, isa);
    check_callers(projected, 3, isa);
    check_no_trace(odd, isa);
    check_optional(odd, isa);
    check_optional(projected, isa);
    check_half(odd, isa);
  }
  check_refusals(odd);
  return finish("cpu_engine_calls");
}
