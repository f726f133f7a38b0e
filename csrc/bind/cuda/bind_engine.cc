// The CUDA engine as a Python class: arguments are checked here, then the GIL is released.
#include <pybind11/stl.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bind/arrays.h"
#include "bind/cuda/bind_cuda.h"
#include "bind/given_answers.h"
#include "bind/model_arguments.h"
#include "engine/cuda/cuda_engine.h"

namespace py = pybind11;

namespace tokenfuse::cuda {
namespace {

// Ids and their log-probabilities.
using PyAnswer = std::pair<IdArray, FloatArray>;

Type type_of(const std::string& precision) {
  if (precision == "fp16") return Type::kHalf;
  if (precision == "bf16") return Type::kBf16;
  throw std::invalid_argument("precision " + precision + "; the CUDA engine has fp16 and bf16");
}

std::unique_ptr<CudaEngine> make_engine(const py::dict& config, const py::dict& weights,
                                        const std::string& precision, int max_batch, bool graphs) {
  const EngineOptions options{type_of(precision), max_batch, graphs};
  const ModelConfig model = config_of(config);
  const TensorMap tensors = tensors_of(weights);
  py::gil_scoped_release release;
  return std::make_unique<CudaEngine>(model, tensors, options);
}

int batch_of(const CudaEngine& engine, py::ssize_t count) {
  if (count < 1 || count > engine.options().max_batch) {
    throw std::invalid_argument("a batch of " + std::to_string(count) + "; need 1 to " +
                                std::to_string(engine.options().max_batch) +
                                ", the engine's max_batch");
  }
  return static_cast<int>(count);
}

// Checked.
int images_of(const CudaEngine& engine, const ContiguousFloats& images_BHW3) {
  const std::int64_t size = engine.config().vision.image_size;
  require(images_BHW3.ndim() == 4 && images_BHW3.shape(1) == size && images_BHW3.shape(2) == size &&
              images_BHW3.shape(3) == 3,
          "images: need (batch, image_size, image_size, 3)");
  return batch_of(engine, images_BHW3.shape(0));
}

std::vector<Ids> texts_of(const CudaEngine& engine, const std::vector<IdArray>& texts, int batch) {
  require(static_cast<py::ssize_t>(texts.size()) == batch, "texts: need one for each of the batch");
  std::vector<Ids> checked;
  for (const IdArray& text : texts) checked.push_back(text_of(engine.config(), text));
  return checked;
}

// The number of image tokens, checked.
int latents_of(const CudaEngine& engine, const ContiguousFloats& f, int axes) {
  require(f.ndim() == axes && f.shape(axes - 1) == engine.config().fusion.width,
          axes == 2 ? "f: need (N, fusion.width)" : "f: need (batch, N, fusion.width)");
  check_budget(engine.config(), f.shape(axes - 2));
  return static_cast<int>(f.shape(axes - 2));
}

// Where a batch of answers is written, and what becomes of it in Python.
struct AnswerRows {
  AnswerRows(const CudaEngine& engine, int batch)
      : longest(static_cast<std::size_t>(engine.config().decoder.max_tokens)),
        ids(static_cast<std::size_t>(batch) * longest),
        log_probs(ids.size()),
        counts(static_cast<std::size_t>(batch)) {}

  Answers rows() { return {ids.data(), log_probs.data(), counts.data()}; }

  std::vector<PyAnswer> taken() const {
    std::vector<PyAnswer> answers;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      answers.emplace_back(IdArray(counts[i], &ids[i * longest]),
                           FloatArray(counts[i], &log_probs[i * longest]));
    }
    return answers;
  }

  std::size_t longest;
  std::vector<std::int32_t> ids;
  std::vector<float> log_probs;
  std::vector<std::int64_t> counts;
};

std::pair<FloatArray, py::object> encode_images(CudaEngine& engine,
                                                const ContiguousFloats& images_BHW3,
                                                std::int64_t token_budget, bool with_map) {
  const int batch = images_of(engine, images_BHW3);
  check_budget(engine.config(), token_budget);
  FloatArray f_BND = new_array({batch, token_budget, engine.config().fusion.width});
  FloatArray map_BNS = with_map
                           ? new_array({batch, token_budget, engine.config().vision.num_tokens()})
                           : new_array({0});
  const float* images = images_BHW3.data();
  float* f = f_BND.mutable_data();
  float* map = with_map ? map_BNS.mutable_data() : nullptr;
  {
    py::gil_scoped_release release;
    engine.encode_images(images, batch, static_cast<int>(token_budget), f, map);
  }
  return {f_BND, with_map ? py::object(map_BNS) : py::none()};
}

std::vector<PyAnswer> generate(CudaEngine& engine, const ContiguousFloats& f_BND,
                               const std::vector<IdArray>& texts, std::int64_t max_tokens) {
  const int num_latents = latents_of(engine, f_BND, 3), batch = batch_of(engine, f_BND.shape(0));
  const std::vector<Ids> checked = texts_of(engine, texts, batch);
  require(max_tokens >= 1, "max_tokens: need 1 or more");
  AnswerRows answers(engine, batch);
  const float* f = f_BND.data();
  {
    py::gil_scoped_release release;
    engine.generate(f, num_latents, checked, max_tokens, answers.rows());
  }
  return answers.taken();
}

std::pair<FloatArray, std::vector<PyAnswer>> answer(CudaEngine& engine,
                                                    const ContiguousFloats& images_BHW3,
                                                    const std::vector<IdArray>& texts,
                                                    std::int64_t token_budget,
                                                    std::int64_t max_tokens) {
  const int batch = images_of(engine, images_BHW3);
  const std::vector<Ids> checked = texts_of(engine, texts, batch);
  check_budget(engine.config(), token_budget);
  require(max_tokens >= 1, "max_tokens: need 1 or more");
  FloatArray f_BND = new_array({batch, token_budget, engine.config().fusion.width});
  AnswerRows answers(engine, batch);
  const float* images = images_BHW3.data();
  float* f = f_BND.mutable_data();
  {
    py::gil_scoped_release release;
    engine.answer(images, static_cast<int>(token_budget), checked, max_tokens, f, answers.rows());
  }
  return {f_BND, answers.taken()};
}

FloatArray fuse(CudaEngine& engine, const ContiguousFloats& f_ND, const IdArray& text_ids) {
  return fused_of(engine, f_ND, latents_of(engine, f_ND, 2), text_ids);
}

FloatArray score(CudaEngine& engine, const ContiguousFloats& f_ND, const IdArray& text_ids,
                 const std::vector<IdArray>& candidates) {
  return scores_of(engine, f_ND, latents_of(engine, f_ND, 2), text_ids, candidates);
}

FloatArray logits(CudaEngine& engine, const ContiguousFloats& f_ND, const IdArray& text_ids,
                  const IdArray& answer_ids) {
  return logits_of(engine, f_ND, latents_of(engine, f_ND, 2), text_ids, answer_ids);
}

void record(CudaEngine& engine, int batch, std::int64_t token_budget) {
  batch_of(engine, batch);
  check_budget(engine.config(), token_budget);
  py::gil_scoped_release release;
  engine.record(batch, static_cast<int>(token_budget));
}

}  // namespace

void bind_engine(py::module_& module) {
  py::class_<CudaEngine>(module, "CudaEngine", "The whole model on a GPU; calls take turns.")
      .def(py::init(&make_engine), py::arg("config"), py::arg("weights"), py::kw_only(),
           py::arg("precision") = "fp16", py::arg("max_batch") = 1, py::arg("graphs") = true)
      .def("record", &record, py::arg("batch"), py::arg("token_budget"))
      .def("encode_images", &encode_images, py::arg("images_BHW3"), py::arg("token_budget"),
           py::arg("with_map") = false)
      .def("generate", &generate, py::arg("f_BND"), py::arg("texts"), py::arg("max_tokens"))
      .def("answer", &answer, py::arg("images_BHW3"), py::arg("texts"), py::arg("token_budget"),
           py::arg("max_tokens"))
      .def("fuse", &fuse, py::arg("f_ND"), py::arg("text_ids"))
      .def("score", &score, py::arg("f_ND"), py::arg("text_ids"), py::arg("candidates"))
      .def("logits", &logits, py::arg("f_ND"), py::arg("text_ids"), py::arg("answer_ids"))
      .def("set_timed", &CudaEngine::set_timed, py::arg("timed"),
           py::call_guard<py::gil_scoped_release>(), "Whether calls are timed from now on.")
      .def("last_times",
           [](CudaEngine& engine) {
             CallTimes times;
             {
               // A call of another thread may be under way.
               py::gil_scoped_release release;
               times = engine.last_times();
             }
             py::dict told;
             told["device_ms"] = times.device_ms;
             told["launch_ms"] = times.launch_ms;
             return told;
           })
      .def("memory_report",
           [](const CudaEngine& engine) {
             py::dict report;
             report["weights_bytes"] = engine.weights_bytes();
             report["workspace_bytes"] = engine.workspace_bytes();
             return report;
           })
      .def_property_readonly(
          "precision",
          [](const CudaEngine& e) { return e.options().type == Type::kHalf ? "fp16" : "bf16"; })
      .def_property_readonly("max_batch",
                             [](const CudaEngine& e) { return e.options().max_batch; });
}

}  // namespace tokenfuse::cuda
