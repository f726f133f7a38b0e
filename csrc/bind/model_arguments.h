// A model's config and tensors, as both engines are given them.
#pragma once

#include <pybind11/numpy.h>

#include "engine/config.h"
#include "engine/tensors.h"

namespace tokenfuse {

// Throw std::invalid_argument for what is missing, or what an engine cannot read.
ModelConfig config_of(const pybind11::dict& config);
TensorMap tensors_of(const pybind11::dict& weights);

}  // namespace tokenfuse
