// Precisions by the names that Python knows.
#pragma once

#include <stdexcept>
#include <string>

#include "engine/compute.h"

namespace tokenfuse {

// Throws std::invalid_argument.
inline Precision precision_of(const std::string& name) {
  if (name == "fp32") return Precision::kFp32;
  if (name == "bf16") return Precision::kBf16;
  if (name == "int8") return Precision::kInt8;
  throw std::invalid_argument("precision '" + name +
                              "' is not known; choose one of fp32, bf16, int8");
}

inline const char* precision_name(Precision precision) {
  switch (precision) {
    case Precision::kBf16:
      return "bf16";
    case Precision::kInt8:
      return "int8";
    default:
      return "fp32";
  }
}

}  // namespace tokenfuse
