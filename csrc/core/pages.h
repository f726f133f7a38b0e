// Pages of a mapped file that were read and are not needed again.
#pragma once

#include <cstddef>

namespace tokenfuse {

// Takes the pages that hold these bytes out of the process's memory, where the system can. They
// must lie in a read-only mapping of a file: a later read brings them back, as the file has them.
void release_file_pages(const void* data, std::size_t bytes) noexcept;

}  // namespace tokenfuse
