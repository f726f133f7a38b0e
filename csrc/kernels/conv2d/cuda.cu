#include "core/cuda/device.h"
#include "core/cuda/launch.h"
#include "kernels/conv2d/cuda.h"

namespace tokenfuse::cuda {
namespace {

constexpr int kThreads = 256;

struct PatchesKernelArgs {
  PatchesArgs patches;
  int height, width, channels, kernel, stride, padding;
  unsigned out_height, out_width;
  // Of a row, and in all. 32 bits: 2^32 of them are 64 GB, and a division of 64 bits takes as long
  // as all the rest of a thread's work.
  unsigned row_vectors, num_vectors;
  // Eight values of a patch are eight neighbours in x16, at a multiple of 16 bytes.
  bool whole;
};

template <typename T>
TF_DEVICE T pixel_value(const PatchesArgs& a, std::int64_t at) {
  if (a.x32 != nullptr) return from_float<T>(a.x32[at]);
  return static_cast<const T*>(a.x16)[at];
}

// Eight values of p for each thread.
template <typename T>
TF_KERNEL void TF_LAUNCH_BOUNDS(kThreads, 1) patch_vectors(PatchesKernelArgs args) {
  const PatchesArgs& a = args.patches;
  const unsigned index = static_cast<unsigned>(block_x()) * kThreads + thread_index();
  if (index >= args.num_vectors) return;
  const unsigned row = index / args.row_vectors, line = row / args.out_width;
  const unsigned picture = line / args.out_height;
  const int top = static_cast<int>(line % args.out_height) * args.stride - args.padding;
  const int left = static_cast<int>(row % args.out_width) * args.stride - args.padding;

  const int begin = static_cast<int>(index % args.row_vectors) * 8;
  int i = begin / (args.kernel * args.channels), j = begin / args.channels % args.kernel;
  int channel = begin % args.channels;
  T values[8];
  TF_UNROLL for (int v = 0; v < 8; ++v) {
    const int y = top + i, x = left + j;
    values[v] = T{0};
    if (i < args.kernel && y >= 0 && y < args.height && x >= 0 && x < args.width) {
      const std::int64_t at =
          ((std::int64_t{picture} * args.height + y) * args.width + x) * args.channels + channel;
      if (v == 0 && args.whole) {
        store_128(static_cast<T*>(a.p) + row * a.ldp + begin,
                  load_128(static_cast<const T*>(a.x16) + at));
        return;
      }
      values[v] = pixel_value<T>(a, at);
    }
    if (++channel < args.channels) continue;
    channel = 0;
    if (++j < args.kernel) continue;
    j = 0;
    ++i;
  }
  Vec128 packed;
  TF_UNROLL for (int w = 0; w < 4; ++w) {
    packed.words[w] = values[2 * w].bits | static_cast<std::uint32_t>(values[2 * w + 1].bits) << 16;
  }
  store_128(static_cast<T*>(a.p) + row * a.ldp + begin, packed);
}

}  // namespace

void patches(Stream& stream, const PatchesArgs& args) {
  const Conv2dShape& s = args.shape;
  const auto to_int = [](std::int64_t value) { return static_cast<int>(value); };
  const auto to_unsigned = [](std::int64_t value) { return static_cast<unsigned>(value); };
  const std::int64_t rows = args.batch * s.out_height() * s.out_width();
  const std::int64_t num_vectors = rows * (args.ldp / 8);
  if (num_vectors == 0) return;
  const bool whole = args.x32 == nullptr && s.in_channels % 8 == 0 &&
                     reinterpret_cast<std::uintptr_t>(args.x16) % 16 == 0;
  const PatchesKernelArgs kernel_args{args,
                                      to_int(s.height),
                                      to_int(s.width),
                                      to_int(s.in_channels),
                                      to_int(s.kernel),
                                      to_int(s.stride),
                                      to_int(s.padding),
                                      to_unsigned(s.out_height()),
                                      to_unsigned(s.out_width()),
                                      to_unsigned(args.ldp / 8),
                                      to_unsigned(num_vectors),
                                      whole};
  launch(stream, "patches", args.type == Type::kHalf ? patch_vectors<Half> : patch_vectors<Bf16>,
         {to_int((num_vectors + kThreads - 1) / kThreads)}, kThreads, 0, kernel_args);
}

}  // namespace tokenfuse::cuda
