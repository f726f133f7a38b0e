#include "engine/tensors.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "core/half.h"
#include "core/pages.h"

namespace tokenfuse {

const TensorView& Tensors::find(const std::string& name,
                                std::initializer_list<std::int64_t> shape) const {
  const auto found = map_.find(name);
  if (found == map_.end()) throw std::invalid_argument("the tensor " + name + " is missing");
  const TensorView& tensor = found->second;
  if (!std::equal(shape.begin(), shape.end(), tensor.shape.begin(), tensor.shape.end())) {
    throw std::invalid_argument("the tensor " + name + " has another shape than the config says");
  }
  return tensor;
}

std::vector<float> Tensors::read(const std::string& name,
                                 std::initializer_list<std::int64_t> shape) const {
  const TensorView& tensor = find(name, shape);
  std::vector<float> values(count_of(shape));
  take_floats(tensor, values.size(), values.data());
  return values;
}

void Tensors::release_pages() const noexcept {
  for (const auto& [name, tensor] : map_) release(tensor, 0, tensor.count());
}

const unsigned char* address(const TensorView& tensor, std::size_t first) noexcept {
  return static_cast<const unsigned char*>(tensor.data) + first * tensor.item_bytes();
}

void copy_floats(const TensorView& tensor, std::size_t first, std::size_t count,
                 float* to) noexcept {
  if (tensor.half) {
    halves_to_floats(address(tensor, first), count, to);
  } else {
    std::memcpy(to, address(tensor, first), count * sizeof(float));
  }
}

void release(const TensorView& tensor, std::size_t first, std::size_t count) noexcept {
  if (tensor.mapped) {
    release_file_pages(address(tensor, first), count * tensor.item_bytes());
  }
}

void take_floats(const TensorView& tensor, std::size_t count, float* to) noexcept {
  copy_floats(tensor, 0, count, to);
  release(tensor, 0, count);
}

}  // namespace tokenfuse
