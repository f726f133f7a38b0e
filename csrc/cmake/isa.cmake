# The only place that names instruction-set flags. A file x86_<isa>.cc or arm_<isa>.cc of a kernel
# gets the flags of its set; nothing else does, so the rest runs on any CPU of the architecture.
# GPU architectures are in cuda.cmake.

set(TOKENFUSE_X86 OFF)
set(TOKENFUSE_ARM64 OFF)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(TOKENFUSE_X86 ON)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  set(TOKENFUSE_ARM64 ON)
endif()

set(TOKENFUSE_FLAGS_avx2 -mavx2 -mfma)
# No 256-bit preference: two 512-bit FMA units are there wherever it pays.
set(TOKENFUSE_FLAGS_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma
                           -mprefer-vector-width=512)
set(TOKENFUSE_FLAGS_avx512_vnni ${TOKENFUSE_FLAGS_avx512} -mavx512vnni)
set(TOKENFUSE_FLAGS_avx512_bf16 ${TOKENFUSE_FLAGS_avx512_vnni} -mavx512bf16)
# GCC's own AVX-512 headers trip this warning.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  foreach(isa avx512 avx512_vnni avx512_bf16)
    list(APPEND TOKENFUSE_FLAGS_${isa} -Wno-maybe-uninitialized -Wno-uninitialized)
  endforeach()
endif()

# Every Armv8 has NEON; GCC takes the other two on top of Armv8.2 alone, which all with them have.
set(TOKENFUSE_FLAGS_neon "")
set(TOKENFUSE_FLAGS_neon_dotprod -march=armv8.2-a+dotprod)
set(TOKENFUSE_FLAGS_neon_i8mm -march=armv8.2-a+dotprod+i8mm)
if(TOKENFUSE_ARM64)
  include(CheckCXXCompilerFlag)
  check_cxx_compiler_flag(${TOKENFUSE_FLAGS_neon_i8mm} TOKENFUSE_HAS_I8MM)
  if(NOT TOKENFUSE_HAS_I8MM)
    message(FATAL_ERROR "${CMAKE_CXX_COMPILER} does not know ${TOKENFUSE_FLAGS_neon_i8mm}; "
                        "use GCC 10, Clang 11 or newer (set CXX)")
  endif()
endif()

# Adds the kernels' sources to a target, each with its flags.
function(tokenfuse_add_kernels target folder)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${folder}/*.cc")
  foreach(source IN LISTS sources)
    if(source MATCHES "/x86_([a-z0-9_]+)\\.cc$")
      if(NOT TOKENFUSE_X86)
        continue()
      endif()
      set_source_files_properties("${source}" PROPERTIES COMPILE_OPTIONS
                                  "${TOKENFUSE_FLAGS_${CMAKE_MATCH_1}}")
    elseif(source MATCHES "/arm_([a-z0-9_]+)\\.cc$")
      if(NOT TOKENFUSE_ARM64)
        continue()
      endif()
      set_source_files_properties("${source}" PROPERTIES COMPILE_OPTIONS
                                  "${TOKENFUSE_FLAGS_${CMAKE_MATCH_1}}")
    endif()
    target_sources(${target} PRIVATE "${source}")
  endforeach()
  if(TOKENFUSE_X86)
    target_compile_definitions(${target} PUBLIC TOKENFUSE_X86=1)
  elseif(TOKENFUSE_ARM64)
    target_compile_definitions(${target} PUBLIC TOKENFUSE_ARM64=1)
  endif()
endfunction()
