// Activations by the names that Python knows.
#pragma once

#include <stdexcept>
#include <string>

#include "kernels/linear/linear.h"

namespace tokenfuse {

// Throws std::invalid_argument.
inline Activation activation_of(const std::string& name) {
  if (name == "none") return Activation::kNone;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_tanh") return Activation::kGeluTanh;
  throw std::invalid_argument("activation='" + name + "': choose one of none, gelu, gelu_tanh");
}

}  // namespace tokenfuse
