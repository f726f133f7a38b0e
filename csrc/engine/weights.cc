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

std::vector<float> Loader::read(const std::string& name,
                                std::initializer_list<std::int64_t> shape) const {
  const TensorView& tensor = find(name, shape);
  std::size_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
  std::vector<float> values(count);
  // A plan wants the size alone.
  if (planning()) return values;
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
    std::memcpy(values.data(), tensor.data, count * sizeof(float));
  }
  return values;
}

const float* Loader::keep(const std::vector<float>& values) {
  float* to = space(values.size());
  if (to != nullptr) std::copy(values.begin(), values.end(), to);
  return to;
}

const float* Loader::keep(const std::string& name, std::initializer_list<std::int64_t> shape) {
  return keep(read(name, shape));
}

Norm Loader::layer_norm(const std::string& prefix, std::int64_t width, float eps) {
  return {keep(prefix + ".weight", {width}), keep(prefix + ".bias", {width}), width, eps};
}

Norm Loader::rms_norm(const std::string& prefix, std::int64_t width, float eps) {
  return {keep(prefix + ".weight", {width}), nullptr, width, eps};
}

PackedLinear Loader::linear(const std::string& prefix, std::initializer_list<const char*> parts,
                            std::int64_t num_in, std::int64_t num_out, bool bias, float scale) {
  std::vector<float> weight, biases;
  const auto joined = num_out * static_cast<std::int64_t>(parts.size());
  for (const char* part : parts) {
    const std::string name = *part == '\0' ? prefix : prefix + "." + part;
    if (planning()) {
      // The largest tensors: their size is all that is needed.
      find(name + ".weight", {num_out, num_in});
      if (bias) find(name + ".bias", {num_out});
      continue;
    }
    const std::vector<float> one = read(name + ".weight", {num_out, num_in});
    weight.insert(weight.end(), one.begin(), one.end());
    if (bias) {
      const std::vector<float> own = read(name + ".bias", {num_out});
      biases.insert(biases.end(), own.begin(), own.end());
    }
  }
  for (float& value : weight) value *= scale;
  for (float& value : biases) value *= scale;
  if (planning() && bias) biases.resize(static_cast<std::size_t>(joined));
  return pack(weight, biases, num_in, joined);
}

PackedLinear Loader::pack(const std::vector<float>& weight, const std::vector<float>& bias,
                          std::int64_t num_in, std::int64_t num_out) {
  PackedLinear result;
  result.num_in = num_in;
  result.num_out = num_out;
  if (packing_.int8 != nullptr) {
    pack_int8(weight, result);
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
