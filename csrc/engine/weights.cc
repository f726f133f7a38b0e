#include "engine/weights.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "core/half.h"
#include "core/pages.h"

namespace tokenfuse {

void Table::copy_row(std::int64_t row, float* to) const noexcept {
  const auto count = static_cast<std::size_t>(width), first = static_cast<std::size_t>(row) * count;
  if (half) {
    halves_to_floats(static_cast<const std::uint16_t*>(data) + first, count, to);
  } else {
    std::memcpy(to, static_cast<const float*>(data) + first, count * sizeof(float));
  }
}

namespace {

// Bytes of a mapped file that are read before their pages are given back: enough for the threads
// to share, and little beside any model.
constexpr std::size_t kWindowBytes = std::size_t{2} << 20;

}  // namespace

std::vector<float> Loader::read(const std::string& name,
                                std::initializer_list<std::int64_t> shape) const {
  if (!planning()) return tensors_.read(name, shape);
  // A plan wants the size alone.
  tensors_.find(name, shape);
  return std::vector<float>(count_of(shape));
}

const float* Loader::keep(const std::vector<float>& values) {
  float* to = space(values.size());
  if (to != nullptr) std::copy(values.begin(), values.end(), to);
  return to;
}

const float* Loader::keep(const std::string& name, std::initializer_list<std::int64_t> shape) {
  const TensorView& tensor = tensors_.find(name, shape);
  const std::size_t count = count_of(shape);
  float* to = space(count);
  if (to != nullptr) take_floats(tensor, count, to);
  return to;
}

Table Loader::table(const std::string& name, std::int64_t num_rows, std::int64_t width) {
  const TensorView& tensor = tensors_.find(name, {num_rows, width});
  const std::size_t count = count_of({num_rows, width}), item = tensor.item_bytes();
  auto* to = static_cast<unsigned char*>(arena_.bytes(count * item));
  const std::size_t window = kWindowBytes / item;
  for (std::size_t first = 0; to != nullptr && first < count; first += window) {
    const std::size_t some = std::min(window, count - first);
    const auto num_tasks = static_cast<std::size_t>(pool_.num_threads());
    pool_.parallel_for(pool_.num_threads(), [&](std::int64_t task, int) {
      const auto part = static_cast<std::size_t>(task);
      const std::size_t begin = first + some * part / num_tasks;
      const std::size_t end = first + some * (part + 1) / num_tasks;
      std::memcpy(to + begin * item, address(tensor, begin), (end - begin) * item);
    });
    release(tensor, first, some);
  }
  return {to, tensor.half, width};
}

void Loader::give_back() const noexcept {
  if (planning()) return;
  release_freed_memory();
  tensors_.release_pages();
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
  const std::size_t outputs = count_of({num_out});
  std::vector<float> biases(bias ? outputs * parts.size() : 0);
  Parts weights;
  for (const char* part : parts) {
    const std::string name = *part == '\0' ? prefix : prefix + "." + part;
    if (bias) {
      const TensorView& own = tensors_.find(name + ".bias", {num_out});
      if (!planning()) take_floats(own, outputs, biases.data() + weights.size() * outputs);
    }
    weights.push_back(&tensors_.find(name + ".weight", {num_out, num_in}));
  }
  for (float& value : biases) value *= scale;
  return pack_parts(weights, scale, biases, num_in, joined);
}

PackedLinear Loader::pack(const std::vector<float>& weight, const std::vector<float>& bias,
                          std::int64_t num_in, std::int64_t num_out) {
  const TensorView whole{weight.data(), false, {num_out, num_in}};
  return pack_parts({&whole}, 1.0f, bias, num_in, num_out);
}

template <typename Body>
void Loader::for_panels(const Parts& parts, float scale, std::int64_t num_in, std::int64_t num_out,
                        std::int64_t width, Body&& body) {
  const std::int64_t part_rows = num_out / static_cast<std::int64_t>(parts.size());
  const auto k = static_cast<std::size_t>(num_in), panel_floats = count_of({width, num_in});
  // body's rows [begin, end), part after part.
  const auto for_parts = [&](std::int64_t begin, std::int64_t end, auto&& use) {
    while (begin < end) {
      const std::int64_t part = begin / part_rows, stop = std::min(end, (part + 1) * part_rows);
      use(*parts[static_cast<std::size_t>(part)], static_cast<std::size_t>(begin % part_rows) * k,
          static_cast<std::size_t>(stop - begin) * k);
      begin = stop;
    }
  };
  // Not zeroed: of what no thread uses, no page is taken.
  const std::unique_ptr<float[]> blocks(
      new float[panel_floats * static_cast<std::size_t>(pool_.num_threads())]);
  const auto window = std::max<std::int64_t>(
      pool_.num_threads(),
      static_cast<std::int64_t>(kWindowBytes / (panel_floats * parts[0]->item_bytes() + 1)));
  const std::int64_t num_panels = (num_out + width - 1) / width;
  for (std::int64_t first = 0; first < num_panels; first += window) {
    const std::int64_t last = std::min(num_panels, first + window);
    pool_.parallel_for(last - first, [&](std::int64_t task, int thread) {
      const std::int64_t panel = first + task, begin = panel * width;
      const std::int64_t end = std::min(num_out, begin + width);
      float* rows = blocks.get() + panel_floats * static_cast<std::size_t>(thread);
      float* to = rows;
      for_parts(begin, end, [&](const TensorView& part, std::size_t at, std::size_t count) {
        copy_floats(part, at, count, to);
        to += count;
      });
      for (float* value = rows; value < to; ++value) *value *= scale;
      body(panel, rows, end - begin, thread);
    });
    for_parts(first * width, std::min(num_out, last * width), release);
  }
}

PackedLinear Loader::pack_parts(const Parts& parts, float scale, const std::vector<float>& bias,
                                std::int64_t num_in, std::int64_t num_out) {
  PackedLinear result;
  result.num_in = num_in;
  result.num_out = num_out;
  const std::int64_t n = num_out, k = num_in;
  if (packing_.int8 != nullptr) {
    if (k > kInt8MaxK) {
      throw std::invalid_argument("a linear of " + std::to_string(k) +
                                  " inputs is too long for int8, which adds up at most " +
                                  std::to_string(kInt8MaxK) + "; use bf16 or fp32");
    }
    const LinearInt8Kernel& to = *packing_.int8;
    const std::int64_t width = to.panel_width, padded = linear_int8_num_panels(to, n) * width;
    auto* packed = static_cast<std::uint8_t*>(arena_.bytes(linear_int8_packed_bytes(to, n, k)));
    float* scales = space(static_cast<std::size_t>(padded));
    if (packed != nullptr) {
      const auto panel_bytes = count_of({width, k});
      const std::unique_ptr<std::int8_t[]> quantized(
          new std::int8_t[panel_bytes * static_cast<std::size_t>(pool_.num_threads())]);
      for_panels(
          parts, scale, k, n, width,
          [&](std::int64_t panel, const float* rows, std::int64_t num_rows, int thread) {
            std::int8_t* q = quantized.get() + panel_bytes * static_cast<std::size_t>(thread);
            quantize_weights(packing_.quantize, rows, k, num_rows, k, q, scales + panel * width);
            linear_int8_pack(to, q, num_rows, k, packed + panel * width * int8_padded(k));
          });
      std::fill(scales + n, scales + padded, 0.0f);
    }
    result.packed_int8 = packed;
    result.scale = scales;
  } else if (packing_.bf16 != nullptr) {
    const LinearBf16Kernel& to = *packing_.bf16;
    const std::int64_t width = to.panel_width;
    auto* packed =
        static_cast<std::uint16_t*>(arena_.bytes(linear_bf16_packed_count(to, n, k) * 2));
    if (packed != nullptr) {
      for_panels(parts, scale, k, n, width,
                 [&](std::int64_t panel, const float* rows, std::int64_t num_rows, int) {
                   linear_bf16_pack(to, rows, k, num_rows, k,
                                    packed + panel * width * bf16_padded(k));
                 });
    }
    result.packed_bf16 = packed;
  } else {
    const std::int64_t width = kernel().panel_width;
    float* packed = space(linear_packed_floats(kernel(), n, k));
    if (packed != nullptr) {
      for_panels(parts, scale, k, n, width,
                 [&](std::int64_t panel, const float* rows, std::int64_t num_rows, int) {
                   linear_pack(kernel(), rows, k, num_rows, k, packed + panel * width * k);
                 });
    }
    result.packed = packed;
  }
  result.bias = bias.empty() ? nullptr : keep(bias);
  return result;
}

}  // namespace tokenfuse
