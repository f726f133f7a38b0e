// What both engines are given: a model's config and tensors, and ids.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>

#include "engine/checks.h"
#include "engine/tensors.h"

namespace tokenfuse {

using IdArray = pybind11::array_t<std::int32_t, pybind11::array::c_style>;
using ContiguousFloats = pybind11::array_t<float, pybind11::array::c_style>;

// Throw std::invalid_argument for what is missing, or what an engine cannot read.
ModelConfig config_of(const pybind11::dict& config);
TensorMap tensors_of(const pybind11::dict& weights);

// Checked, and in the array's memory.
Ids text_of(const ModelConfig& config, const IdArray& ids);
Ids answer_of(const ModelConfig& config, const IdArray& ids);

}  // namespace tokenfuse
