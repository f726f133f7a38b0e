// patches on a GPU: the bits of what conv2d's definition says, picture by picture.
#include "device_rows.h"
#include "kernels/conv2d/cuda.h"
#include "schedules.h"

using namespace tokenfuse::cuda;

namespace tokenfuse::test {
namespace {

template <typename T>
void check_shape(const Conv2dShape& s, int batch, int more) {
  const std::int64_t num_pixels = batch * s.height * s.width, patch = s.patch();
  const std::int64_t ldp = (patch + 7) / 8 * 8 + more;
  const Rows x32 = Rows::random(1, 2.0f, num_pixels, s.in_channels);
  if (num_pixels * s.in_channels > 4) x32.at(0, 0) = kInf;
  const std::int64_t rows = batch * s.out_height() * s.out_width();
  for (const bool floats : {true, false}) {
    for (const int offset : {0, 1}) {
      if (floats && offset == 1) continue;
      set_case("%s, %d x %d, kernel %d, stride %d, padding %d, channels %d, floats %d, offset %d",
               Rounding<T>::kType == Type::kHalf ? "f16" : "bf16", static_cast<int>(s.height),
               static_cast<int>(s.width), static_cast<int>(s.kernel), static_cast<int>(s.stride),
               static_cast<int>(s.padding), static_cast<int>(s.in_channels), floats, offset);
      const HalfRows<T> x16(num_pixels, s.in_channels, s.in_channels, s.in_channels, offset);
      for (std::int64_t i = 0; i < num_pixels; ++i) {
        for (std::int64_t c = 0; c < s.in_channels; ++c) x16.set(i, c, x32.at(i, c));
      }
      for (const emulator::Schedule& schedule : schedules()) {
        emulator::set_schedule(schedule);
        const HalfRows<T> p(rows, ldp, ldp, ldp);
        PatchesArgs args{};
        args.type = Rounding<T>::kType;
        args.x32 = floats ? x32.data() : nullptr;
        args.x16 = floats ? nullptr : x16.data();
        args.p = p.data();
        args.ldp = ldp;
        args.shape = s;
        args.batch = batch;
        Stream stream;
        patches(stream, args);
        bool same = true;
        std::int64_t row = 0;
        for (int b = 0; b < batch; ++b) {
          for (std::int64_t oy = 0; oy < s.out_height(); ++oy) {
            for (std::int64_t ox = 0; ox < s.out_width(); ++ox, ++row) {
              for (std::int64_t column = 0; column < ldp; ++column) {
                const std::int64_t c = column % s.in_channels;
                const std::int64_t y =
                    oy * s.stride - s.padding + column / s.in_channels / s.kernel;
                const std::int64_t x =
                    ox * s.stride - s.padding + column / s.in_channels % s.kernel;
                const bool there =
                    column < patch && y >= 0 && y < s.height && x >= 0 && x < s.width;
                const float want = there ? x32.at((b * s.height + y) * s.width + x, c) : 0.0f;
                same = same && p.data()[row * ldp + column].bits == from_float<T>(want).bits;
              }
            }
          }
        }
        CHECK(same);
      }
      emulator::set_schedule({});
    }
  }
}

template <typename T>
void check_type() {
  // Height, width, channels in and out, kernel, stride, padding.
  for (const Conv2dShape& s :
       {Conv2dShape{1, 1, 1, 1, 1, 1, 0}, Conv2dShape{5, 7, 3, 4, 3, 2, 1},
        Conv2dShape{8, 8, 3, 4, 4, 4, 0}, Conv2dShape{9, 6, 8, 4, 3, 2, 1},
        Conv2dShape{6, 5, 24, 4, 2, 1, 1}, Conv2dShape{7, 7, 9, 4, 3, 1, 2},
        Conv2dShape{2, 3, 16, 4, 5, 3, 2}, Conv2dShape{32, 32, 1, 4, 16, 16, 0}}) {
    for (const int batch : {1, 3}) {
      check_shape<T>(s, batch, 0);
      check_shape<T>(s, batch, 16);
    }
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  check_type<Half>();
  check_type<Bf16>();
  Stream stream;
  PatchesArgs none{};
  none.ldp = 8;
  none.shape = {4, 4, 3, 4, 3, 2, 1};
  patches(stream, none);
  return finish("conv2d_cuda");
}
