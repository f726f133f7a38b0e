// CpuEngine: a warm call allocates nothing, on no thread. Loading plans all of it.
#include "heap_count.h"

// Behind it: what they allocate is counted too.
#include <cstdio>
#include <memory>
#include <vector>

#include "engine_run.h"

namespace tokenfuse::test {
namespace {

// An allocation that no compiler may leave out.
template <typename Allocate, typename Free>
long counted(Allocate allocate, Free release) {
  void* volatile memory = nullptr;
  const long count = allocations_of([&] { memory = allocate(); });
  release(memory);
  return count;
}

void check_each_function() {
  set_case("each function");
  const auto free_it = [](void* memory) { std::free(memory); };
  CHECK(allocations_of([] {}) == 0);
  CHECK(counted([] { return std::malloc(24); }, free_it) == 1);
  CHECK(counted([] { return std::calloc(3, 8); }, free_it) == 1);
  CHECK(counted([] { return std::realloc(nullptr, 24); }, free_it) == 1);
  CHECK(counted([] { return std::aligned_alloc(64, 128); }, free_it) == 1);
  CHECK(counted(
            [] {
              void* memory = nullptr;
              return posix_memalign(&memory, 64, 100) == 0 ? memory : nullptr;
            },
            free_it) == 1);
  CHECK(counted([]() -> void* { return new char[24]; },
                [](void* memory) { delete[] static_cast<char*>(memory); }) == 1);
  constexpr std::align_val_t kAlign{64};
  CHECK(counted([=] { return ::operator new(24, kAlign); },
                [=](void* memory) { ::operator delete(memory, kAlign); }) == 1);
  CHECK(counted([] { return static_cast<void*>(strdup("a library's")); }, free_it) == 1);
}

// Both threads of a pool are in the loop before either allocates.
void check_pool_thread() {
  set_case("pool thread");
  ThreadPool pool(2);
  std::atomic<int> num_here{0};
  void* volatile memory[2] = {};
  const long count = allocations_of([&] {
    pool.parallel_for(2, [&](std::int64_t task, int) {
      num_here.fetch_add(1);
      while (num_here.load() < 2) std::this_thread::yield();
      memory[task] = std::malloc(24);
    });
  });
  CHECK(count == 2);
  for (void* one : memory) std::free(one);
}

// Buffers and arguments of all calls, made before.
class Caller {
 public:
  explicit Caller(const SmallModel& model)
      : budget_(model.config.fusion.num_latents),
        limit_(model.config.decoder.max_tokens),
        image_(model.image(1)),
        f_(budget_, model.config.fusion.width),
        map_(budget_, model.config.vision.num_tokens()),
        fused_(budget_, model.config.text.width),
        logits_(limit_, model.config.text.vocab_size),
        log_probs_(1, limit_),
        scores_(1, 2),
        text_(model.ids(2, model.config.text.max_tokens)),
        answer_(model.ids(3, limit_)),
        ids_(static_cast<std::size_t>(limit_)),
        candidates_{ids_of(answer_), Ids{answer_.data(), 1}} {}

  static constexpr int kCalls = 6;

  void call(CpuEngine& engine) {
    engine.encode_image(image_.data(), budget_, f_.data(), nullptr);
    engine.encode_image(image_.data(), budget_, f_.data(), map_.data());
    engine.fuse(f_.data(), budget_, ids_of(text_), fused_.data());
    engine.generate(f_.data(), budget_, ids_of(text_), limit_, ids_.data(), log_probs_.data());
    engine.score(f_.data(), budget_, ids_of(text_), candidates_, scores_.data());
    engine.logits(f_.data(), budget_, ids_of(text_), ids_of(answer_), logits_.data());
  }

 private:
  std::int64_t budget_, limit_;
  Rows image_, f_, map_, fused_, logits_, log_probs_, scores_;
  std::vector<std::int32_t> text_, answer_, ids_;
  std::vector<Ids> candidates_;
};

void check_calls(const SmallModel& model, Isa isa, Precision precision, int num_threads,
                 int num_calls) {
  set_case("%s, precision %d, %d threads", isa_name(isa), static_cast<int>(precision), num_threads);
  CpuEngine engine(model.config, model.tensors, num_threads, isa, precision);
  Caller caller(model);
  caller.call(engine);
  const long count = allocations_of([&] {
    for (int i = 0; i < num_calls; i += Caller::kCalls) caller.call(engine);
  });
  CHECK(count == 0);
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  if (const char* reason = no_heap_count()) {
    std::printf("cpu_engine_allocations: skipped, %s\n", reason);
    return 0;
  }
  check_each_function();
  check_pool_thread();
  // Layers that are split over threads, and ones of odd widths; few calls of the first, which take
  // a minute under emulation.
  const SmallModel wide(wide_config()), odd(odd_config()), projected(projected_config());
  const std::vector<tokenfuse::Isa> isas = runnable_isas();
  for (const auto precision :
       {tokenfuse::Precision::kFp32, tokenfuse::Precision::kBf16, tokenfuse::Precision::kInt8}) {
    for (const tokenfuse::Isa isa : isas) {
      check_calls(wide, isa, precision, 2, 10);
      check_calls(projected, isa, precision, 2, 5);
    }
    check_calls(wide, isas.back(), precision, 2, 50);
    check_calls(odd, isas.back(), precision, 2, 1000);
    check_calls(odd, isas.back(), precision, 1, 20);
  }
  return finish("cpu_engine_allocations");
}
