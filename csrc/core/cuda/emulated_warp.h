// What the collectives of a warp do in the emulator.
#pragma once

#include "core/cuda/device.h"
#include "core/cuda/emulator.h"

namespace tokenfuse::cuda::emulator {

// Does the collective that all lanes of a warp have met in, with the arguments of each.
void do_collective(Op op, void* const* args, Counts& counted);

}  // namespace tokenfuse::cuda::emulator
