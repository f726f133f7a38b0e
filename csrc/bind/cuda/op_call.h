// One call of an op from Python. Its arrays are either all NumPy's, which are rounded, copied to
// the device and back, or all on the device, where they are used as they lie and nothing is waited
// for. They are checked here, once.
#pragma once

#include <deque>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>

#include "bind/cuda/operands.h"

namespace tokenfuse::cuda {

class OpCall {
 public:
  OpCall(std::initializer_list<pybind11::object> arrays,
         const std::optional<std::string>& precision, std::intptr_t stream);

  bool on_device() const noexcept { return on_device_; }
  // Of the 16-bit arrays; fp16 where there is none.
  Type type() const;

  // Arrays of 16-bit values, of floats, of either, of ints; null for None. Where either will do,
  // NumPy's stay floats.
  const Operand* halves(const char* name, const pybind11::object& array, const Need& need);
  const Operand* floats(const char* name, const pybind11::object& array, const Need& need);
  const Operand* either(const char* name, const pybind11::object& array, const Need& need);
  const Operand* ints(const char* name, const pybind11::object& array, const Need& need);

  // An array that is written: `out` of the caller's, or a new one where it is None. The caller
  // sees it without its first axis, the batch, where `is_single`.
  const Operand* result(Dtype dtype, const Extents& shape, const pybind11::object& out,
                        const Need& need, bool is_single = false);
  // What the caller wants in it: of `out`, by the name `result`, else `usual`.
  Dtype result_dtype(const pybind11::object& out, const std::optional<std::string>& result,
                     Dtype usual) const;

  // launch(stream) without the GIL; nothing where `empty`.
  void run(bool empty, const std::function<void(Stream&)>& launch);
  pybind11::object taken(const Operand* result) const;

  // One of 1 to `most`, as an int of a kernel. Throws std::invalid_argument.
  static int extent(const Operand& operand, std::size_t axis, std::int64_t most = INT32_MAX);
  static const DeviceInfo& device();

 private:
  const Operand* add(const char* name, const pybind11::object& array, const Need& need,
                     std::initializer_list<Dtype> allowed);
  void add_host(Operand& operand, const pybind11::object& array, const Need& need,
                std::initializer_list<Dtype> allowed);
  void stage(const std::function<void(Stream&)>& launch);

  CurrentDevice current_{0};  // CUDA_VISIBLE_DEVICES says which one that is
  bool on_device_;
  std::optional<Dtype> half_;
  std::string half_name_;
  Stream stream_;
  std::deque<Operand> inputs_, results_;  // do not move
  std::deque<pybind11::object> keepers_;
};

}  // namespace tokenfuse::cuda
