// The CPU engine as a Python class: arguments are checked here, then the GIL is released.
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "bind/arrays.h"
#include "bind/bind.h"
#include "bind/given_answers.h"
#include "bind/isa_choice.h"
#include "bind/model_arguments.h"
#include "bind/precision_name.h"
#include "engine/cpu_engine.h"

namespace py = pybind11;

namespace tokenfuse {
namespace {

std::unique_ptr<CpuEngine> make_engine(const py::dict& config, const py::dict& weights,
                                       int num_threads, const std::string& isa,
                                       const std::string& precision) {
  const Precision chosen_precision = precision_of(precision);
  const ModelConfig model = config_of(config);
  const TensorMap tensors = tensors_of(weights);
  const Isa chosen = isa_or_throw(isa);
  const int threads = num_threads > 0 ? num_threads : default_num_threads();
  py::gil_scoped_release release;
  return std::make_unique<CpuEngine>(model, tensors, threads, chosen, chosen_precision);
}

std::pair<FloatArray, py::object> encode(CpuEngine& engine, const ContiguousFloats& image_HW3,
                                         std::int64_t token_budget, bool with_map) {
  const std::int64_t size = engine.config().vision.image_size;
  require(image_HW3.ndim() == 3 && image_HW3.shape(0) == size && image_HW3.shape(1) == size &&
              image_HW3.shape(2) == 3,
          "image: need (image_size, image_size, 3)");
  check_budget(engine.config(), token_budget);
  FloatArray f_ND = new_array({token_budget, engine.config().fusion.width});
  FloatArray map_NS =
      with_map ? new_array({token_budget, engine.config().vision.num_tokens()}) : new_array({0});
  const float* image = image_HW3.data();
  float* f = f_ND.mutable_data();
  float* map = with_map ? map_NS.mutable_data() : nullptr;
  {
    py::gil_scoped_release release;
    engine.encode_image(image, token_budget, f, map);
  }
  return {f_ND, with_map ? py::object(map_NS) : py::none()};
}

// The number of image tokens, checked.
std::int64_t latents_of(const CpuEngine& engine, const ContiguousFloats& f_ND) {
  require(f_ND.ndim() == 2 && f_ND.shape(1) == engine.config().fusion.width,
          "f: need (N, fusion.width)");
  check_budget(engine.config(), f_ND.shape(0));
  return f_ND.shape(0);
}

py::tuple generate(CpuEngine& engine, const ContiguousFloats& f_ND, const IdArray& text_ids,
                   std::int64_t max_tokens) {
  const std::int64_t num_latents = latents_of(engine, f_ND);
  const Ids text = text_of(engine.config(), text_ids);
  require(max_tokens >= 1, "max_tokens: need 1 or more");
  const std::int64_t limit = std::min(max_tokens, engine.config().decoder.max_tokens);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(limit));
  std::vector<float> log_probs(static_cast<std::size_t>(limit));
  const float* f = f_ND.data();
  std::int64_t count = 0;
  {
    py::gil_scoped_release release;
    count = engine.generate(f, num_latents, text, limit, ids.data(), log_probs.data());
  }
  return py::make_tuple(IdArray(count, ids.data()), FloatArray(count, log_probs.data()));
}

FloatArray fuse(CpuEngine& engine, const ContiguousFloats& f_ND, const IdArray& text_ids) {
  return fused_of(engine, f_ND, latents_of(engine, f_ND), text_ids);
}

FloatArray score(CpuEngine& engine, const ContiguousFloats& f_ND, const IdArray& text_ids,
                 const std::vector<IdArray>& candidates) {
  return scores_of(engine, f_ND, latents_of(engine, f_ND), text_ids, candidates);
}

FloatArray logits(CpuEngine& engine, const ContiguousFloats& f_ND, const IdArray& text_ids,
                  const IdArray& answer_ids) {
  return logits_of(engine, f_ND, latents_of(engine, f_ND), text_ids, answer_ids);
}

}  // namespace

void bind_engine(py::module_& module) {
  py::class_<CpuEngine>(module, "CpuEngine", "The whole model in C++; calls take turns.")
      .def(py::init(&make_engine), py::arg("config"), py::arg("weights"), py::kw_only(),
           py::arg("num_threads") = 0, py::arg("isa") = "", py::arg("precision") = "fp32")
      .def(
          "encode_image",
          [](CpuEngine& engine, const ContiguousFloats& image, std::int64_t token_budget) {
            return encode(engine, image, token_budget, false).first;
          },
          py::arg("image_HW3"), py::arg("token_budget"))
      .def(
          "encode_image_with_map",
          [](CpuEngine& engine, const ContiguousFloats& image, std::int64_t token_budget) {
            return encode(engine, image, token_budget, true);
          },
          py::arg("image_HW3"), py::arg("token_budget"))
      .def("generate", &generate, py::arg("f_ND"), py::arg("text_ids"), py::arg("max_tokens"))
      .def("fuse", &fuse, py::arg("f_ND"), py::arg("text_ids"))
      .def("score", &score, py::arg("f_ND"), py::arg("text_ids"), py::arg("candidates"))
      .def("logits", &logits, py::arg("f_ND"), py::arg("text_ids"), py::arg("answer_ids"))
      .def("memory_report",
           [](const CpuEngine& engine) {
             py::dict report;
             report["weights_bytes"] = engine.weights_bytes();
             report["workspace_bytes"] = engine.workspace_bytes();
             return report;
           })
      .def_property_readonly("precision",
                             [](const CpuEngine& e) { return precision_name(e.precision()); })
      .def_property_readonly("isa", [](const CpuEngine& e) { return isa_name(e.isa()); })
      .def_property_readonly("num_threads", [](CpuEngine& e) { return e.num_threads(); });
}

}  // namespace tokenfuse
