#include "bind/model_arguments.h"

#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "bind/activation_name.h"
#include "bind/arrays.h"

namespace py = pybind11;

namespace tokenfuse {
namespace {

template <typename T>
T field(const py::dict& section, const char* name) {
  if (!section.contains(name)) throw std::invalid_argument(std::string("config: no ") + name);
  return section[name].cast<T>();
}

Activation activation_of(const py::dict& section) {
  return tokenfuse::activation_of(field<std::string>(section, "activation"));
}

VisionConfig vision_of(const py::dict& d) {
  using I = std::int64_t;
  return {field<I>(d, "image_size"),
          field<I>(d, "patch_size"),
          field<I>(d, "width"),
          field<I>(d, "num_layers"),
          field<I>(d, "num_heads"),
          field<I>(d, "mlp_dim"),
          field<std::vector<I>>(d, "stem_widths"),
          field<bool>(d, "class_token"),
          field<bool>(d, "distillation_token"),
          activation_of(d),
          field<float>(d, "eps")};
}

TextConfig text_of(const py::dict& d) {
  using I = std::int64_t;
  return {field<I>(d, "vocab_size"), field<I>(d, "width"),       field<I>(d, "num_layers"),
          field<I>(d, "num_heads"),  field<I>(d, "head_dim"),    field<I>(d, "mlp_dim"),
          field<I>(d, "max_tokens"), field<I>(d, "num_buckets"), field<I>(d, "max_distance"),
          field<float>(d, "eps")};
}

FusionConfig fusion_of(const py::dict& d) {
  using I = std::int64_t;
  return {field<I>(d, "width"),
          field<I>(d, "num_heads"),
          field<I>(d, "mlp_dim"),
          field<I>(d, "num_latents"),
          field<I>(d, "num_iterations"),
          field<I>(d, "num_layers"),
          field<std::vector<I>>(d, "token_budgets"),
          field<std::string>(d, "kind"),
          field<std::string>(d, "resampler"),
          field<std::string>(d, "combination"),
          activation_of(d),
          field<float>(d, "eps")};
}

DecoderConfig decoder_of(const py::dict& d) {
  using I = std::int64_t;
  return {field<I>(d, "num_layers"), field<I>(d, "num_heads"),  field<I>(d, "head_dim"),
          field<I>(d, "mlp_dim"),    field<I>(d, "max_tokens"), field<float>(d, "eps")};
}

}  // namespace

ModelConfig config_of(const py::dict& d) {
  return {vision_of(field<py::dict>(d, "vision")), text_of(field<py::dict>(d, "text")),
          fusion_of(field<py::dict>(d, "fusion")), decoder_of(field<py::dict>(d, "decoder"))};
}

namespace {

// Whether the array is a view of a `mmap.mmap` that nobody can write: of a file, or zeros. A copy
// on write is not one, however it is seen: its pages hold what no file has.
bool is_mapped(const py::array& array, const py::object& mmap_type) {
  py::object base = array.base();
  while (base && py::isinstance<py::array>(base)) {
    base = py::reinterpret_borrow<py::array>(base).base();
  }
  if (!base || PyMemoryView_Check(base.ptr()) == 0) return false;
  const Py_buffer& view = *PyMemoryView_GET_BUFFER(base.ptr());
  if (view.obj == nullptr || !py::isinstance(view.obj, mmap_type)) return false;
  Py_buffer writable;
  if (PyObject_GetBuffer(view.obj, &writable, PyBUF_WRITABLE) == 0) {
    PyBuffer_Release(&writable);
    return false;
  }
  PyErr_Clear();
  return true;
}

}  // namespace

TensorMap tensors_of(const py::dict& weights) {
  const py::object mmap_type = py::module_::import("mmap").attr("mmap");
  TensorMap tensors;
  for (const auto& [key, value] : weights) {
    const auto name = key.cast<std::string>();
    // Of anything else an array would be made here, and its memory be gone before it is read.
    if (!py::isinstance<py::array>(value)) {
      const std::string type = py::str(py::type::of(value).attr("__name__"));
      throw std::invalid_argument("the tensor " + name + " is a " + type + "; need an array");
    }
    const auto array = py::reinterpret_borrow<py::array>(value);
    const std::string dtype = py::str(array.dtype());
    const bool half = dtype == "float16";
    if (!half && dtype != "float32") {
      throw std::invalid_argument("the tensor " + name + " is " + dtype +
                                  "; need float16 or float32");
    }
    if ((array.flags() & py::array::c_style) == 0) {
      throw std::invalid_argument("the tensor " + name + " is not C-contiguous");
    }
    tensors[name] = {array.data(),
                     half,
                     {array.shape(), array.shape() + array.ndim()},
                     is_mapped(array, mmap_type)};
  }
  return tensors;
}

Ids text_of(const ModelConfig& config, const IdArray& ids) {
  require(ids.ndim() == 1, "text: need one axis");
  const Ids text{ids.data(), ids.shape(0)};
  check_text(config, text);
  return text;
}

Ids answer_of(const ModelConfig& config, const IdArray& ids) {
  require(ids.ndim() == 1, "answer: need one axis");
  const Ids answer{ids.data(), ids.shape(0)};
  check_answer(config, answer);
  return answer;
}

}  // namespace tokenfuse
