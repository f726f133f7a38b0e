// An array of ours on the device, which other libraries take without a copy.
#pragma once

#include <memory>

#include "bind/cuda/device_arrays.h"
#include "core/cuda/stream_order.h"

namespace tokenfuse::cuda {

// C-contiguous. The memory outlives it as long as somebody who took it needs it.
class OwnedArray {
 public:
  OwnedArray(Dtype dtype, Extents shape, const Stream& stream)
      : dtype_(dtype),
        shape_(std::move(shape)),
        stream_(stream.handle()),
        memory_(std::make_shared<StreamBuffer>(
            static_cast<std::size_t>(count_of(shape_) * item_bytes(dtype)), stream)) {}

  Dtype dtype() const noexcept { return dtype_; }
  const Extents& shape() const noexcept { return shape_; }
  // cudaStream_t of the work that fills it.
  void* stream() const noexcept { return stream_; }
  const std::shared_ptr<StreamBuffer>& memory() const noexcept { return memory_; }
  char* data() const noexcept { return static_cast<char*>(memory_->data()); }
  std::int64_t bytes() const noexcept { return count_of(shape_) * item_bytes(dtype_); }

 private:
  Dtype dtype_;
  Extents shape_;
  void* stream_;
  std::shared_ptr<StreamBuffer> memory_;
};

}  // namespace tokenfuse::cuda
