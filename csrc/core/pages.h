// Gives memory back that is not needed now. Where the system cannot, only memory is lost.
#pragma once

#include <cstddef>

namespace tokenfuse {

// Takes the pages that hold these bytes out of the process's memory, where the system can. They
// must lie in a read-only mapping of a file: a later read brings them back, as the file has them.
void release_file_pages(const void* data, std::size_t bytes) noexcept;

// Freed memory that the C library keeps for whoever asks next.
void release_freed_memory() noexcept;

}  // namespace tokenfuse
