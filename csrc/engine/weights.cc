#include "engine/weights.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace tokenfuse {

float half_to_float(std::uint16_t bits) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1Fu;
  std::uint32_t fraction = bits & 0x3FFu;
  std::uint32_t out = sign;
  if (exponent == 0x1F) {
    out |= 0x7F800000u | (fraction << 13);
  } else if (exponent != 0) {
    out |= ((exponent + 112) << 23) | (fraction << 13);
  } else if (fraction != 0) {
    // Subnormal: shift the leading one into place; every one is a normal float32.
    std::uint32_t shifted_exponent = 113;
    while ((fraction & 0x400u) == 0) {
      fraction <<= 1;
      --shifted_exponent;
    }
    out |= (shifted_exponent << 23) | ((fraction & 0x3FFu) << 13);
  }
  float value;
  std::memcpy(&value, &out, sizeof(value));
  return value;
}

const TensorView& Loader::find(const std::string& name,
                               std::initializer_list<std::int64_t> shape) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw std::invalid_argument("the tensor " + name + " is missing");
  const TensorView& tensor = found->second;
  if (!std::equal(shape.begin(), shape.end(), tensor.shape.begin(), tensor.shape.end())) {
    throw std::invalid_argument("the tensor " + name + " has another shape than the config says");
  }
  return tensor;
}

namespace {

std::size_t count_of(std::initializer_list<std::int64_t> shape) noexcept {
  std::size_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
  return count;
}

void copy_floats(const TensorView& tensor, std::size_t count, float* values) noexcept {
  if (tensor.half) {
    const auto* from = static_cast<const unsigned char*>(tensor.data);
    for (std::size_t i = 0; i < count; ++i) {
      std::uint16_t bits;
      std::memcpy(&bits, from + i * sizeof(bits), sizeof(bits));
      const std::uint32_t exponent = bits & 0x7C00u;
      if (exponent == 0 || exponent == 0x7C00u) {
        values[i] = half_to_float(bits);
        continue;
      }
      // Nearly all of a model: a normal number, moved to its place.
      const std::uint32_t wide =
          (static_cast<std::uint32_t>(bits & 0x8000u) << 16) |
          ((static_cast<std::uint32_t>(bits & 0x7FFFu) << 13) + (std::uint32_t{112} << 23));
      std::memcpy(&values[i], &wide, sizeof(wide));
    }
  } else {
    std::memcpy(values, tensor.data, count * sizeof(float));
  }
}

}  // namespace

std::vector<float> Loader::read(const std::string& name,
                                std::initializer_list<std::int64_t> shape) const {
  const TensorView& tensor = find(name, shape);
  std::vector<float> values(count_of(shape));
  // A plan wants the size alone.
  if (!planning()) copy_floats(tensor, values.size(), values.data());
  return values;
}

const float* Loader::keep(const std::vector<float>& values) {
  float* to = space(values.size());
  if (to != nullptr) std::copy(values.begin(), values.end(), to);
  return to;
}

const float* Loader::keep(const std::string& name, std::initializer_list<std::int64_t> shape) {
  const TensorView& tensor = find(name, shape);
  const std::size_t count = count_of(shape);
  float* to = space(count);
  if (to != nullptr) copy_floats(tensor, count, to);
  return to;
}

Norm Loader::layer_norm(const std::string& prefix, std::int64_t width, float eps) {
  return {keep(prefix + ".weight", {width}), keep(prefix + ".bias", {width}), width, eps};
}

Norm Loader::rms_norm(const std::string& prefix, std::int64_t width, float eps) {
  return {keep(prefix + ".weight", {width}), nullptr, width, eps};
}

PackedLinear Loader::linear(const std::string& prefix, std::initializer_list<const char*> parts,
                            std::int64_t num_in, std::int64_t num_out, bool bias, float scale) {
  const auto joined = num_out * static_cast<std::int64_t>(parts.size());
  const std::size_t outputs = count_of({num_out}), size = count_of({num_out, num_in});
  std::vector<float> biases(bias ? outputs * parts.size() : 0);
  // These are the largest tensors: a plan needs their size alone.
  std::vector<float> weight(planning() ? 0 : size * parts.size());
  std::size_t at = 0;
  for (const char* part : parts) {
    const std::string name = *part == '\0' ? prefix : prefix + "." + part;
    const TensorView& one = find(name + ".weight", {num_out, num_in});
    const TensorView* own = bias ? &find(name + ".bias", {num_out}) : nullptr;
    if (!planning()) {
      copy_floats(one, size, weight.data() + at * size);
      if (bias) copy_floats(*own, outputs, biases.data() + at * outputs);
    }
    ++at;
  }
  for (float& value : weight) value *= scale;
  for (float& value : biases) value *= scale;
  return pack(weight, biases, num_in, joined);
}

PackedLinear Loader::pack(const std::vector<float>& weight, const std::vector<float>& bias,
                          std::int64_t num_in, std::int64_t num_out) {
  PackedLinear result;
  result.num_in = num_in;
  result.num_out = num_out;
  if (packing_.int8 != nullptr) {
    pack_int8(weight, result);
  } else if (packing_.bf16 != nullptr) {
    const LinearBf16Kernel& to = *packing_.bf16;
    const std::size_t bytes = linear_bf16_packed_count(to, num_out, num_in) * 2;
    auto* packed = static_cast<std::uint16_t*>(arena_.bytes(bytes));
    if (packed != nullptr) linear_bf16_pack(to, weight.data(), num_in, num_out, num_in, packed);
    result.packed_bf16 = packed;
  } else {
    float* packed = space(linear_packed_floats(kernel(), num_out, num_in));
    if (packed != nullptr) linear_pack(kernel(), weight.data(), num_in, num_out, num_in, packed);
    result.packed = packed;
  }
  result.bias = bias.empty() ? nullptr : keep(bias);
  return result;
}

void Loader::pack_int8(const std::vector<float>& weight, PackedLinear& to) {
  const std::int64_t n = to.num_out, k = to.num_in;
  const std::int64_t padded =
      linear_int8_num_panels(*packing_.int8, n) * packing_.int8->panel_width;
  auto* packed =
      static_cast<std::uint8_t*>(arena_.bytes(linear_int8_packed_bytes(*packing_.int8, n, k)));
  float* scale = space(static_cast<std::size_t>(padded));
  if (packed != nullptr) {
    std::vector<std::int8_t> quantized(weight.size());
    quantize_weights(packing_.quantize, weight.data(), k, n, k, quantized.data(), scale);
    std::fill(scale + n, scale + padded, 0.0f);
    linear_int8_pack(*packing_.int8, quantized.data(), n, k, packed);
  }
  to.packed_int8 = packed;
  to.scale = scale;
}

}  // namespace tokenfuse
