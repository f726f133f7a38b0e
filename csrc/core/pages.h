// Advice to the system about pages of memory. Where it is not taken, nothing but time and memory
// is lost.
#pragma once

#include <cstddef>

namespace tokenfuse {

// Takes the pages that hold these bytes out of the process's memory, where the system can. They
// must lie in a read-only mapping of a file: a later read brings them back, as the file has them.
void release_file_pages(const void* data, std::size_t bytes) noexcept;

// Memory of the process's own, aligned to a large page, that will all be used.
void prefer_large_pages(void* data, std::size_t bytes) noexcept;

// What was freed, but kept for the next to ask.
void release_freed_memory() noexcept;

}  // namespace tokenfuse
