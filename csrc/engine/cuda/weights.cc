#include "engine/cuda/weights.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "core/cuda/half_rows.h"

namespace tokenfuse::cuda {
namespace {

// Extents are ints on the device.
int extent(std::int64_t size) {
  if (size > std::numeric_limits<int>::max()) {
    throw std::invalid_argument("a width of " + std::to_string(size) + " is too large");
  }
  return static_cast<int>(size);
}

}  // namespace

const void* Loader::upload(const void* from, std::size_t bytes) {
  void* to = arena_.bytes(bytes);
  if (to != nullptr && bytes > 0) {
    stream_.copy_to_device(to, from, bytes);
    // `from` is the caller's, and may go.
    stream_.wait();
  }
  return to;
}

std::vector<float> Loader::read(const std::string& name,
                                std::initializer_list<std::int64_t> shape) const {
  if (!planning()) return tensors_.read(name, shape);
  // A plan wants the size alone.
  tensors_.find(name, shape);
  return std::vector<float>(count_of(shape));
}

const float* Loader::keep(const std::vector<float>& values) {
  return static_cast<const float*>(upload(values.data(), values.size() * sizeof(float)));
}

const void* Loader::keep16(const std::vector<float>& values, std::int64_t num_rows,
                           std::int64_t width, std::int64_t all_rows) {
  const std::int64_t ld = padded(width);
  const std::size_t count = count_of({std::max(num_rows, all_rows), ld});
  if (planning()) return upload(nullptr, count * sizeof(Half));
  std::vector<std::uint16_t> rounded(count);
  const auto tasks = std::min<std::int64_t>(num_rows, pool_.num_threads());
  pool_.parallel_for(tasks, [&](std::int64_t task, int) {
    const std::int64_t first = num_rows * task / tasks, last = num_rows * (task + 1) / tasks;
    rows_to_halves(type_, values.data() + first * width, {last - first, width, ld},
                   rounded.data() + first * ld);
  });
  return upload(rounded.data(), rounded.size() * sizeof(std::uint16_t));
}

Table Loader::table(const std::string& name, std::int64_t num_rows, std::int64_t width) {
  const TensorView& tensor = tensors_.find(name, {num_rows, width});
  const void* data = upload(tensor.data, tensor.count() * tensor.item_bytes());
  if (!planning()) release(tensor, 0, tensor.count());
  return {data, tensor.half, extent(width)};
}

Norm Loader::layer_norm(const std::string& prefix, std::int64_t width, float eps) {
  return {keep(read(prefix + ".weight", {width})), keep(read(prefix + ".bias", {width})),
          extent(width), eps};
}

Norm Loader::rms_norm(const std::string& prefix, std::int64_t width, float eps) {
  return {keep(read(prefix + ".weight", {width})), nullptr, extent(width), eps};
}

Linear Loader::linear(const std::string& prefix, std::initializer_list<const char*> parts,
                      std::int64_t num_in, std::int64_t num_out, bool bias, float scale) {
  std::vector<float> weights, biases;
  for (const char* part : parts) {
    const std::string name = *part == '\0' ? prefix : prefix + "." + part;
    if (bias) {
      const std::vector<float> own = read(name + ".bias", {num_out});
      biases.insert(biases.end(), own.begin(), own.end());
    }
    const std::vector<float> own = read(name + ".weight", {num_out, num_in});
    weights.insert(weights.end(), own.begin(), own.end());
  }
  for (float& value : weights) value *= scale;
  for (float& value : biases) value *= scale;
  return pack(weights, biases, num_in, num_out * static_cast<std::int64_t>(parts.size()));
}

Linear Loader::gated(const std::string& prefix, std::int64_t num_in, std::int64_t num_out) {
  const std::vector<float> gate = read(prefix + ".gate.weight", {num_out, num_in});
  const std::vector<float> up = read(prefix + ".up.weight", {num_out, num_in});
  std::vector<float> rows(2 * gate.size());
  for (std::int64_t i = 0; i < num_out; ++i) {
    std::copy_n(gate.begin() + i * num_in, num_in, rows.begin() + 2 * i * num_in);
    std::copy_n(up.begin() + i * num_in, num_in, rows.begin() + (2 * i + 1) * num_in);
  }
  return pack(rows, {}, num_in, 2 * num_out, true);
}

Linear Loader::pack(const std::vector<float>& weight, std::vector<float> bias, std::int64_t num_in,
                    std::int64_t num_out, bool gated) {
  Linear result;
  result.num_in = extent(num_in);
  result.num_out = extent(num_out);
  result.gated = gated;
  result.weight = keep16(weight, num_out, num_in, result.padded16());
  if (!bias.empty()) {
    bias.resize(static_cast<std::size_t>(result.padded16()));
    result.bias = keep(bias);
  }
  return result;
}

}  // namespace tokenfuse::cuda
