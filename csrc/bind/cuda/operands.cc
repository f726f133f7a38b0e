#include "bind/cuda/operands.h"

#include <cstring>
#include <stdexcept>

#include "core/cuda/half_rows.h"

namespace tokenfuse::cuda {
namespace {

constexpr std::int64_t kVector = 8;      // 16-bit values in 16 bytes
constexpr std::size_t kAlignment = 256;  // of what is staged

bool lacks_batch(const Extents& shape, const Need& need) {
  return need.axes[0] == 'B' && shape.size() + 1 == std::strlen(need.axes);
}

// The axes as `need` names them.
Extents with_batch(Extents extents, bool is_single, std::int64_t first) {
  if (is_single) extents.insert(extents.begin(), first);
  return extents;
}

std::int64_t padded(std::int64_t width, const Need& need) {
  return need.vectors ? (width + kVector - 1) / kVector * kVector : width;
}

HalfRowShape rows_of(const Operand& operand) {
  const std::int64_t width = operand.shape.back();
  return {width == 0 ? 0 : count_of(operand.shape) / width, width, operand.width};
}

std::size_t bytes_of(const Operand& operand) {
  return static_cast<std::size_t>(count_of(operand.shape) * item_bytes(operand.dtype));
}

}  // namespace

void need_that(bool condition, const std::string& what) {
  if (!condition) throw std::invalid_argument(what);
}

std::string named(const Need& need) {
  std::string text = "(";
  for (const char* axis = need.axes; *axis != 0; ++axis) {
    text += std::string(axis == need.axes ? "" : ", ") + *axis;
  }
  return text + ")" + (need.axes[0] == 'B' ? ", the batch B may lack" : "");
}

void set_shape(Operand& operand, const Extents& given, const Need& need) {
  operand.is_single = lacks_batch(given, need);
  operand.shape = with_batch(given, operand.is_single, 1);
  need_that(operand.shape.size() == std::strlen(need.axes),
            std::string(operand.name) + " has shape " + described(given) + "; need " + named(need));
  for (const std::int64_t extent : operand.shape) {
    need_that(extent <= INT32_MAX,
              std::string(operand.name) + " has shape " + described(given) + "; need below 2^31");
  }
}

void lay_out(Operand& operand, const Need& need) {
  Extents rows = operand.shape;
  operand.width = rows.back() = padded(rows.back(), need);
  operand.strides = contiguous_strides(rows);
}

void use_view(Operand& operand, const DeviceView& view, const Need& need) {
  operand.dtype = view.dtype;
  operand.data = view.data;
  set_shape(operand, view.shape, need);
  operand.strides = with_batch(view.strides, operand.is_single, 0);
  operand.width = operand.shape.back();
  const Extents whole = contiguous_strides(operand.shape);
  if (count_of(operand.shape) == 0) {
    operand.strides = whole;
    return;
  }
  const std::string name = operand.name;
  const std::string layout =
      " has strides " + described(view.strides) + " for shape " + described(view.shape);
  const bool vectors = need.vectors && is_half(operand.dtype);
  const auto items = vectors ? kVector : 1;
  for (std::size_t i = operand.shape.size(); i-- > 0;) {
    std::int64_t& stride = operand.strides[i];
    // Of one element a stride means nothing; what the op is told folds.
    if (operand.shape[i] == 1) stride = whole[i];
    const bool own = i < need.own_strides;
    need_that(own ? stride >= 0 : stride == whole[i],
              name + layout +
                  (own                     ? "; need none below 0"
                   : need.own_strides == 0 ? "; need a contiguous array"
                                           : "; need contiguous axes behind the first " +
                                                 std::to_string(need.own_strides)));
    need_that(!own || stride % items == 0, name + layout + "; need multiples of 8");
  }
  need_that(!vectors || operand.width % items == 0,
            name + " has shape " + described(view.shape) +
                "; need a multiple of 8 for the last axis: pad it with zeros");
  const std::uintptr_t aligned = vectors ? 16 : static_cast<std::uintptr_t>(item_bytes(view.dtype));
  need_that(reinterpret_cast<std::uintptr_t>(view.data) % aligned == 0,
            name + " begins at an address that is no multiple of " + std::to_string(aligned));
}

void check_places(const Operand& operand, const DeviceView& view) {
  const Extents& shape = operand.shape;
  std::int64_t inner = 1;
  for (std::size_t i = shape.size(); i-- > 0; inner = operand.strides[i] * shape[i]) {
    need_that(shape[i] <= 1 || operand.strides[i] >= inner,
              std::string(operand.name) + " has strides " + described(view.strides) +
                  " for shape " + described(view.shape) +
                  "; need each element in a place of its own");
  }
}

std::size_t staged_bytes(const Operand& operand) {
  std::int64_t count = operand.width;
  for (std::size_t i = 0; i + 1 < operand.shape.size(); ++i) count *= operand.shape[i];
  const auto bytes = static_cast<std::size_t>(count * item_bytes(operand.dtype));
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

void stage_in(const Operand& operand, void* to) {
  if (is_half(operand.dtype)) {
    rows_to_halves(type_of(operand.dtype), static_cast<const float*>(operand.host),
                   rows_of(operand), to);
  } else {
    std::memcpy(to, operand.host, bytes_of(operand));
  }
}

void stage_out(const Operand& operand, const void* from) {
  if (is_half(operand.dtype)) {
    rows_to_floats(type_of(operand.dtype), from, rows_of(operand),
                   static_cast<float*>(operand.host));
  } else {
    std::memcpy(operand.host, from, bytes_of(operand));
  }
}

}  // namespace tokenfuse::cuda
