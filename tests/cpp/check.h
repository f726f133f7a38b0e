// Counts checks and names the ones that fail. No framework: a build must need no network.
//
// A failed check does not stop a test. `finish` prints the count and is the exit status.
// Checks are made by one thread.
#pragma once

#include <cstdarg>
#include <cstdio>

namespace tokenfuse::test {

inline int num_checks = 0;
inline int num_failed = 0;
inline char case_name[160] = "";

// What the next checks are about, as printf has it: printed with each failure.
__attribute__((format(printf, 1, 2))) inline void set_case(const char* format, ...) {
  std::va_list values;
  va_start(values, format);
  std::vsnprintf(case_name, sizeof(case_name), format, values);
  va_end(values);
}

inline bool check(bool ok, const char* what, const char* file, int line) {
  ++num_checks;
  if (!ok) {
    // One mistake fails many checks: the first ones tell what it is.
    if (++num_failed <= 20)
      std::fprintf(stderr, "%s:%d: [%s] not so: %s\n", file, line, case_name, what);
  }
  return ok;
}

#define CHECK(...) ::tokenfuse::test::check((__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__)

// The expression throws an exception of the type.
#define CHECK_THROWS(type, ...)                                                          \
  do {                                                                                   \
    bool thrown = false;                                                                 \
    try {                                                                                \
      __VA_ARGS__;                                                                       \
    } catch (const type&) {                                                              \
      thrown = true;                                                                     \
    }                                                                                    \
    ::tokenfuse::test::check(thrown, #__VA_ARGS__ " throws " #type, __FILE__, __LINE__); \
  } while (false)

inline int finish(const char* name) {
  std::printf("%s: %d checks, %d failed\n", name, num_checks, num_failed);
  return num_failed == 0 && num_checks > 0 ? 0 : 1;
}

}  // namespace tokenfuse::test
