// The CUDA engine under the emulator, against the CPU engine in float32: the same model, other
// kernels, another order of everything.
#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/cuda/emulator.h"
#include "engine/cpu_engine.h"
#include "engine/cuda/cuda_engine.h"
#include "small_model.h"

namespace tokenfuse::test {
namespace {

using cuda::CudaEngine;
using cuda::EngineOptions;
using cuda::Type;

Ids ids_of(const std::vector<std::int32_t>& ids) {
  return {ids.data(), static_cast<std::int64_t>(ids.size())};
}

// All that an engine says of one picture and one question.
struct Said {
  Said(const ModelConfig& config, std::int64_t budget, std::int64_t answer)
      : f(budget, config.fusion.width),
        map(budget, config.vision.num_tokens()),
        fused(budget, config.text.width),
        logits(answer, config.text.vocab_size),
        scores(1, 3),
        log_probs(1, config.decoder.max_tokens),
        ids(static_cast<std::size_t>(config.decoder.max_tokens), -1) {}

  bool same_bits(const Said& other) const {
    return f.same_bits(other.f) && map.same_bits(other.map) && fused.same_bits(other.fused) &&
           logits.same_bits(other.logits) && scores.same_bits(other.scores) && ids == other.ids;
  }

  Rows f, map, fused, logits, scores, log_probs;
  std::vector<std::int32_t> ids;
};

struct Question {
  Rows image;
  std::int64_t budget;
  std::vector<std::int32_t> text, answer;

  std::vector<Ids> candidates() const {
    return {ids_of(answer), Ids{answer.data(), 1}, ids_of(answer)};
  }
};

Said say(CpuEngine& engine, const Question& q) {
  Said said(engine.config(), q.budget, ids_of(q.answer).count);
  engine.encode_image(q.image.data(), q.budget, said.f.data(), said.map.data());
  const float* f = said.f.data();
  engine.fuse(f, q.budget, ids_of(q.text), said.fused.data());
  engine.logits(f, q.budget, ids_of(q.text), ids_of(q.answer), said.logits.data());
  engine.score(f, q.budget, ids_of(q.text), q.candidates(), said.scores.data());
  said.ids.resize(static_cast<std::size_t>(
      engine.generate(f, q.budget, ids_of(q.text), engine.config().decoder.max_tokens,
                      said.ids.data(), said.log_probs.data())));
  return said;
}

Said say(CudaEngine& engine, const Question& q) {
  Said said(engine.config(), q.budget, ids_of(q.answer).count);
  const int budget = static_cast<int>(q.budget);
  engine.encode_images(q.image.data(), 1, budget, said.f.data(), said.map.data());
  const float* f = said.f.data();
  engine.fuse(f, budget, ids_of(q.text), said.fused.data());
  engine.logits(f, budget, ids_of(q.text), ids_of(q.answer), said.logits.data());
  engine.score(f, budget, ids_of(q.text), q.candidates(), said.scores.data());
  std::int64_t count = 0;
  engine.generate(f, budget, {ids_of(q.text)}, engine.config().decoder.max_tokens,
                  {said.ids.data(), said.log_probs.data(), &count});
  said.ids.resize(static_cast<std::size_t>(count));
  return said;
}

Question question(const SmallModel& model, std::uint64_t seed, std::int64_t budget,
                  std::int64_t text, std::int64_t answer) {
  return {model.image(seed), budget, model.ids(seed + 1, text), model.ids(seed + 2, answer)};
}

// Root mean square of the difference, as a share of that of `want`.
double off(const Rows& got, const Rows& want) {
  double error = 0, size = 0;
  for (std::int64_t i = 0; i < want.num_rows(); ++i) {
    for (std::int64_t j = 0; j < want.width(); ++j) {
      const double d = double{got.at(i, j)} - want.at(i, j);
      error += d * d;
      size += double{want.at(i, j)} * want.at(i, j);
    }
  }
  return std::sqrt(error / size);
}

// Of one rounding to 16 bits, half a unit in the last place. A linear rounds its inputs and its
// weights, and some thirty of them follow one another, of which the residuals keep most: ten such
// roundings are allowed. A wrong wire is off by some tenths.
double allowed(Type type) { return 10 * std::ldexp(1.0, type == Type::kHalf ? -11 : -8); }

void check_like_cpu(const SmallModel& model, Type type, const char* name) {
  const ModelConfig& config = model.config;
  CpuEngine cpu(config, model.tensors, 1, best_isa());
  CudaEngine gpu(config, model.tensors, {type, 2, true});
  std::uint64_t seed = 1;
  for (const std::int64_t budget : config.fusion.token_budgets) {
    set_case("%s, type %d, budget %d", name, static_cast<int>(type), static_cast<int>(budget));
    seed += 10;
    const Question q = question(model, seed, budget, 1 + static_cast<std::int64_t>(seed) % 19, 5);
    const Said want = say(cpu, q), got = say(gpu, q);
    const double most = allowed(type);
    if (!CHECK(off(got.f, want.f) < most)) std::printf("f %g\n", off(got.f, want.f));
    if (!CHECK(off(got.map, want.map) < most)) std::printf("map %g\n", off(got.map, want.map));
    if (!CHECK(off(got.fused, want.fused) < most)) {
      std::printf("fused %g\n", off(got.fused, want.fused));
    }
    if (!CHECK(off(got.logits, want.logits) < most)) {
      std::printf("logits %g\n", off(got.logits, want.logits));
    }
    CHECK(off(got.scores, want.scores) < most);
    CHECK(got.scores.at(0, 0) == got.scores.at(0, 2));
    // With 16 bits a near tie may go the other way: what was generated must be what its own
    // logits say.
    Said again(config, budget, ids_of(got.ids).count);
    gpu.logits(got.f.data(), static_cast<int>(budget), ids_of(q.text), ids_of(got.ids),
               again.logits.data());
    for (std::int64_t a = 0; a < ids_of(got.ids).count; ++a) {
      const float* row = &again.logits.at(a, 0);
      const auto top = std::max_element(row, row + config.text.vocab_size) - row;
      CHECK(top == got.ids[static_cast<std::size_t>(a)]);
      double sum = 0;
      for (std::int64_t v = 0; v < config.text.vocab_size; ++v) {
        sum += std::exp(double{row[v]} - row[top]);
      }
      CHECK(std::fabs(got.log_probs.at(0, a) + std::log(sum)) < 1e-4);
    }
    CHECK(ids_of(got.ids).count == config.decoder.max_tokens || got.ids.back() == 1);
  }
}

// Whatever runs in which order, and whether by a graph: the same bits.
void check_schedules(const SmallModel& model) {
  using Order = cuda::emulator::Schedule::Order;
  const Question q = question(model, 5, model.config.fusion.token_budgets.back(), 7, 3);
  CudaEngine engine(model.config, model.tensors, {});
  const Said want = say(engine, q);
  for (const Order order : {Order::kBackward, Order::kShuffled}) {
    for (const bool late : {true, false}) {
      set_case("order %d, late %d", static_cast<int>(order), late);
      cuda::emulator::set_schedule({order, late, 3});
      CHECK(say(engine, q).same_bits(want));
    }
  }
  cuda::emulator::set_schedule({});
  set_case("without graphs");
  CudaEngine eager(model.config, model.tensors, {Type::kHalf, 1, false});
  CHECK(say(eager, q).same_bits(want));
  // A body that comes once more than it is asked for does nothing.
  set_case("loops that the device does not decide");
  cuda::emulator::set_loops(false);
  CudaEngine unrolled(model.config, model.tensors, {});
  CHECK(say(unrolled, q).same_bits(want));
  for (std::int64_t most = 1; most <= model.config.decoder.max_tokens; ++most) {
    Said some(model.config, q.budget, 1);
    std::int64_t count = 0;
    unrolled.generate(want.f.data(), static_cast<int>(q.budget), {ids_of(q.text)}, most,
                      {some.ids.data(), some.log_probs.data(), &count});
    CHECK(count == std::min(most, static_cast<std::int64_t>(want.ids.size())));
    CHECK(std::equal(some.ids.begin(), some.ids.begin() + count, want.ids.begin()));
  }
  cuda::emulator::set_loops(true);
  // Another question in between leaves no trace.
  set_case("again");
  say(engine, question(model, 50, model.config.fusion.token_budgets.front(), 18, 2));
  CHECK(say(engine, q).same_bits(want));
}

// On a device of other extents other tiles are taken, and norms stand in other places, which
// changes no bit. The merge cuts its tokens into other streams, which changes the order of sums: a
// rounding to 16 bits of its result here and there, far from every one of them.
void check_devices(const SmallModel& model) {
  const Question q = question(model, 7, model.config.fusion.token_budgets.back(), 9, 3);
  const cuda::DeviceInfo usual = cuda::device_info(0);
  CudaEngine engine(model.config, model.tensors, {});
  const Said want = say(engine, q);
  for (const int num_multiprocessors : {1, 132}) {
    set_case("%d multiprocessors", num_multiprocessors);
    cuda::DeviceInfo other = usual;
    other.num_multiprocessors = num_multiprocessors;
    other.shared_bytes_per_block = num_multiprocessors == 1 ? 99 << 10 : 227 << 10;
    cuda::emulator::set_device(other);
    CudaEngine another(model.config, model.tensors, {});
    Said got = say(another, q);
    CHECK(off(got.map, want.map) < 1e-6);
    CHECK(off(got.f, want.f) < std::ldexp(1.0, -13));
    // From the same image tokens on, nothing is merged any more.
    another.logits(want.f.data(), static_cast<int>(q.budget), ids_of(q.text), ids_of(q.answer),
                   got.logits.data());
    CHECK(got.logits.same_bits(want.logits));
  }
  cuda::emulator::set_device(usual);
}

// A batch gives each of its members what it gets alone, in one call or two.
void check_batches(const SmallModel& model) {
  const ModelConfig& config = model.config;
  const int budget = static_cast<int>(config.fusion.token_budgets.back());
  constexpr int kBatch = 3;
  CudaEngine alone(config, model.tensors, {});
  CudaEngine together(config, model.tensors, {Type::kHalf, kBatch + 1, true});
  const std::int64_t size = config.vision.image_size, longest = config.decoder.max_tokens;
  Rows images(kBatch, size * size * 3), f(kBatch, budget * config.fusion.width),
      f_of_answer(kBatch, budget * config.fusion.width),
      map(kBatch, budget * config.vision.num_tokens()), log_probs(kBatch, longest);
  std::vector<Question> questions;
  std::vector<Ids> texts;
  for (int i = 0; i < kBatch; ++i) {
    // All of one bucket: a shorter one would be another shape.
    questions.push_back(
        question(model, 60 + 10 * static_cast<std::uint64_t>(i), budget, 3 + 5 * i, 2));
    for (std::int64_t j = 0; j < size * size * 3; ++j) {
      images.at(i, j) = questions.back().image.data()[j];
    }
  }
  for (const Question& q : questions) texts.push_back(ids_of(q.text));
  together.encode_images(images.data(), kBatch, budget, f.data(), map.data());
  std::vector<std::int32_t> ids(static_cast<std::size_t>(kBatch * longest)), ids_of_answer(ids);
  std::vector<std::int64_t> counts(kBatch), counts_of_answer(kBatch);
  together.generate(f.data(), budget, texts, longest,
                    {ids.data(), log_probs.data(), counts.data()});
  together.answer(images.data(), budget, texts, longest, f_of_answer.data(),
                  {ids_of_answer.data(), log_probs.data(), counts_of_answer.data()});
  CHECK(f.same_bits(f_of_answer));
  CHECK(counts == counts_of_answer);
  for (int i = 0; i < kBatch; ++i) {
    set_case("batch, member %d", i);
    const Said want = say(alone, questions[static_cast<std::size_t>(i)]);
    bool same = true;
    for (std::int64_t j = 0; j < budget * config.fusion.width; ++j) {
      same = same && want.f.data()[j] == f.at(i, j);
    }
    CHECK(same);
    const auto count = static_cast<std::size_t>(counts[static_cast<std::size_t>(i)]);
    CHECK(count == want.ids.size());
    for (std::size_t a = 0; a < std::min(count, want.ids.size()); ++a) {
      const std::size_t at = static_cast<std::size_t>(i * longest) + a;
      CHECK(ids[at] == want.ids[a] && ids_of_answer[at] == want.ids[a]);
      CHECK(log_probs.at(i, static_cast<std::int64_t>(a)) ==
            want.log_probs.at(0, static_cast<std::int64_t>(a)));
    }
  }
  set_case("shorter than it would be");
  const Said whole = say(alone, questions[0]);
  for (std::int64_t most = 1; most <= longest; ++most) {
    Said some(config, budget, 1);
    std::int64_t count = 0;
    alone.generate(whole.f.data(), budget, {texts[0]}, most,
                   {some.ids.data(), some.log_probs.data(), &count});
    CHECK(count == std::min(most, static_cast<std::int64_t>(whole.ids.size())));
    CHECK(std::equal(some.ids.begin(), some.ids.begin() + count, whole.ids.begin()));
  }
}

// Timing changes no bit, and a call that was not timed leaves the times of the last one that was.
void check_times(const SmallModel& model) {
  const Question q = question(model, 7, model.config.fusion.token_budgets.back(), 5, 2);
  for (const bool graphs : {true, false}) {
    set_case("times, graphs %d", graphs);
    CudaEngine engine(model.config, model.tensors, {Type::kHalf, 1, graphs});
    const Said want = say(engine, q);
    CHECK(engine.last_times().device_ms == 0);
    engine.set_timed(true);
    CHECK(say(engine, q).same_bits(want));
    const cuda::CallTimes times = engine.last_times();
    CHECK(times.device_ms > 0 && times.launch_ms > 0);
    engine.set_timed(false);
    CHECK(say(engine, q).same_bits(want));
    CHECK(engine.last_times().device_ms == times.device_ms);
    CHECK(engine.last_times().launch_ms == times.launch_ms);
  }
}

void check_callers(const SmallModel& model) {
  set_case("callers");
  CudaEngine engine(model.config, model.tensors, {});
  std::vector<Question> questions;
  std::vector<Said> want;
  for (std::uint64_t i = 0; i < 3; ++i) {
    questions.push_back(question(model, 90 + i, model.config.fusion.token_budgets[i % 2], 4, 2));
    CudaEngine fresh(model.config, model.tensors, {});
    want.push_back(say(fresh, questions.back()));
  }
  int wrong[3] = {};
  std::vector<std::thread> callers;
  for (std::size_t caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&, caller] {
      for (std::size_t i = 0; i < 3; ++i) {
        const std::size_t which = (i + caller) % 3;
        if (!say(engine, questions[which]).same_bits(want[which])) ++wrong[caller];
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong[0] + wrong[1] + wrong[2] == 0);
}

void check_refusals(const SmallModel& model) {
  using Refused = std::invalid_argument;
  set_case("refusals");
  const auto with = [&](const std::function<void(ModelConfig&)>& change) {
    SmallModel other(model.config);
    change(other.config);
    CudaEngine engine(other.config, other.tensors, {});
  };
  CHECK_THROWS(Refused, with([](ModelConfig& c) { c.fusion.kind = "concat"; }));
  CHECK_THROWS(Refused, with([](ModelConfig& c) { c.vision.num_heads = 16; }));
  CHECK_THROWS(Refused, with([](ModelConfig& c) { c.vision.stem_widths = {12}; }));
  CHECK_THROWS(Refused, with([](ModelConfig& c) { c.vision.width = 1032; }));
  CHECK_THROWS(Refused, CudaEngine(model.config, {}, {}));
  CHECK_THROWS(Refused, CudaEngine(model.config, model.tensors, {Type::kHalf, 0, true}));
  cuda::emulator::set_memory_limit(200 << 10);
  CHECK_THROWS(cuda::OutOfMemory, CudaEngine(model.config, model.tensors, {}));
  cuda::emulator::set_memory_limit(0);
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  using tokenfuse::ModelConfig;
  using tokenfuse::cuda::Type;
  ModelConfig eight_heads = projected_config();
  eight_heads.fusion.num_heads = 8;
  const SmallModel wide(wide_config()), narrow(narrow_config()), projected(eight_heads);
  for (const Type type : {Type::kHalf, Type::kBf16}) {
    check_like_cpu(wide, type, "wide");
    check_like_cpu(narrow, type, "narrow");
    check_like_cpu(projected, type, "projected");
  }
  check_schedules(narrow);
  check_devices(wide);
  check_batches(narrow);
  check_times(narrow);
  check_callers(narrow);
  check_refusals(wide);
  return finish("cuda_engine");
}
