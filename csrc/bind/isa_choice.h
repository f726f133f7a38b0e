// An instruction set by name, or a ValueError that lists what runs here.
#pragma once

#include <string>

#include "core/isa.h"

namespace tokenfuse {

// Empty: TOKENFUSE_FORCE_ISA, or the best. Throws std::invalid_argument.
Isa isa_or_throw(const std::string& name);

}  // namespace tokenfuse
