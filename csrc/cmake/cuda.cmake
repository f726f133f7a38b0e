# The CUDA engine: whether it is built, and for which GPUs. The only place that names GPU
# architectures, as isa.cmake is for the CPU's instruction sets. Makes the target tokenfuse_cuda,
# or none and says why.
#
#   AUTO  for the GPUs of this machine; without one, or without nvcc, nothing
#   ON    for all of the list below; an error where that cannot be
#   OFF   nothing
set(TOKENFUSE_CUDA AUTO CACHE STRING "The CUDA engine: AUTO, ON or OFF")
set_property(CACHE TOKENFUSE_CUDA PROPERTY STRINGS AUTO ON OFF)
set(TOKENFUSE_CUDA_ARCHITECTURES "" CACHE STRING
    "In place of that choice, as CMAKE_CUDA_ARCHITECTURES, for example 87-real;90")

# Code of a compute capability runs on later ones of the same major. Thor is 110, and 101 for CUDA
# before 13; nvcc says which of them it knows. The last one comes as PTX too, for what is not made
# yet.
set(TOKENFUSE_SMS 80 86 87 89 90 100 101 110 120)
# cp.async and the matrix instructions of bfloat16 begin here.
set(TOKENFUSE_OLDEST_SM 80)
# What JetPack 6 has.
set(TOKENFUSE_OLDEST_CUDA 12.6)

# Leaves this file, since a macro's return() is its caller's.
macro(tokenfuse_without_cuda reason)
  if(TOKENFUSE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "TOKENFUSE_CUDA=ON, but ${reason}")
  endif()
  message(STATUS "CUDA: skipped, ${reason}")
  return()
endmacro()

if(NOT TOKENFUSE_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "TOKENFUSE_CUDA=${TOKENFUSE_CUDA} is none of AUTO, ON, OFF")
endif()
if(TOKENFUSE_CUDA STREQUAL "OFF")
  return()
endif()

# 1. The GPUs and the compiler, which on a Jetson is not on the PATH.
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(TOKENFUSE_NVCC nvcc PATHS /usr/local/cuda/bin)
  if(TOKENFUSE_NVCC)
    set(ENV{CUDACXX} "${TOKENFUSE_NVCC}")
  endif()
endif()
set(present "")
if(TOKENFUSE_CUDA STREQUAL "AUTO" AND NOT TOKENFUSE_CUDA_ARCHITECTURES)
  if(CMAKE_CROSSCOMPILING)
    tokenfuse_without_cuda("this is a build for another machine; TOKENFUSE_CUDA=ON builds it")
  endif()
  find_program(TOKENFUSE_NVIDIA_SMI nvidia-smi)
  if(TOKENFUSE_NVIDIA_SMI)
    execute_process(COMMAND "${TOKENFUSE_NVIDIA_SMI}" --query-gpu=compute_cap --format=csv,noheader
                    OUTPUT_VARIABLE answer ERROR_QUIET)
    string(REGEX MATCHALL "[0-9]+\\.[0-9]" present "${answer}")
    string(REPLACE "." "" present "${present}")
  endif()
  # Where nvidia-smi is not there or does not tell: what -arch=native of nvcc asks.
  if(NOT present AND TOKENFUSE_NVCC)
    get_filename_component(folder "${TOKENFUSE_NVCC}" REALPATH)
    get_filename_component(folder "${folder}" DIRECTORY)
    execute_process(COMMAND "${folder}/__nvcc_device_query" OUTPUT_VARIABLE answer
                    RESULT_VARIABLE failed ERROR_QUIET)
    if(failed STREQUAL "0")
      string(REGEX MATCHALL "[0-9]+" present "${answer}")
    endif()
  endif()
  if(NOT present)
    tokenfuse_without_cuda("there is no GPU here; TOKENFUSE_CUDA=ON builds for all of them")
  endif()
  list(REMOVE_DUPLICATES present)
  list(FILTER present INCLUDE REGEX "^([89]|1[0-9])[0-9]$")
  if(NOT present)
    tokenfuse_without_cuda("the GPU's compute capability is below ${TOKENFUSE_OLDEST_SM}")
  endif()
endif()

include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  tokenfuse_without_cuda("there is no nvcc that works with this C++ compiler: install the CUDA \
toolkit ${TOKENFUSE_OLDEST_CUDA} or later (on Debian and Ubuntu, NVIDIA's package cuda-nvcc) and \
put nvcc on the PATH or into CUDACXX")
endif()
execute_process(COMMAND "${CMAKE_CUDA_COMPILER}" --list-gpu-arch OUTPUT_VARIABLE answer
                ERROR_QUIET)
string(REGEX MATCHALL "[0-9]+" known "${answer}")
if(NOT TOKENFUSE_OLDEST_SM IN_LIST known)
  tokenfuse_without_cuda("${CMAKE_CUDA_COMPILER} is no nvcc that knows sm_${TOKENFUSE_OLDEST_SM}")
endif()

# 2. What it compiles for.
set(architectures "")
if(TOKENFUSE_CUDA_ARCHITECTURES)
  set(architectures ${TOKENFUSE_CUDA_ARCHITECTURES})
  foreach(one IN LISTS architectures)
    if(one MATCHES "^([0-9]+)" AND CMAKE_MATCH_1 LESS TOKENFUSE_OLDEST_SM)
      message(FATAL_ERROR "TOKENFUSE_CUDA_ARCHITECTURES has ${one}; the CUDA engine needs \
${TOKENFUSE_OLDEST_SM} or later")
    endif()
  endforeach()
elseif(present)
  foreach(gpu IN LISTS present)
    if(gpu IN_LIST known)
      list(APPEND architectures ${gpu}-real)
    else()
      # Newer than nvcc: the last that it knows, of which the driver translates the PTX.
      set(nearest ${TOKENFUSE_OLDEST_SM})
      foreach(sm IN LISTS TOKENFUSE_SMS)
        if(sm IN_LIST known AND sm LESS gpu)
          set(nearest ${sm})
        endif()
      endforeach()
      list(APPEND architectures ${nearest})
    endif()
  endforeach()
else()
  foreach(sm IN LISTS TOKENFUSE_SMS)
    if(sm IN_LIST known)
      list(APPEND architectures ${sm}-real)
      set(last ${sm})
    endif()
  endforeach()
  list(APPEND architectures ${last}-virtual)
endif()
list(REMOVE_DUPLICATES architectures)

set(CMAKE_CUDA_ARCHITECTURES ${architectures})
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS TOKENFUSE_OLDEST_CUDA)
  tokenfuse_without_cuda("${CMAKE_CUDA_COMPILER} is of CUDA ${CMAKE_CUDA_COMPILER_VERSION}; \
install ${TOKENFUSE_OLDEST_CUDA} or later")
endif()
find_package(CUDAToolkit REQUIRED)
message(STATUS "CUDA: ${CMAKE_CUDA_COMPILER_VERSION} for ${architectures}")

# The same sources as the emulator's (tests/cpp/cuda), but for the runtime. No library of CUDA but
# the runtime, and that inside: a machine needs the driver alone.
set(csrc "${PROJECT_SOURCE_DIR}/csrc")
file(GLOB cuda_sources CONFIGURE_DEPENDS
     "${csrc}/core/cuda/runtime.cc" "${csrc}/core/cuda/*_gpu.cc" "${csrc}/core/cuda/*.cu"
     "${csrc}/kernels/*/cuda*.cu" "${csrc}/engine/cuda/*.cc" "${csrc}/engine/cuda/*.cu")
add_library(tokenfuse_cuda STATIC ${cuda_sources})
# Can be built without waiting for tokenfuse_core.
set_target_properties(tokenfuse_cuda PROPERTIES OPTIMIZE_DEPENDENCIES ON)
target_link_libraries(tokenfuse_cuda PUBLIC tokenfuse_core CUDA::cudart_static)
# Designated initialisers; kernels are C++17.
target_compile_features(tokenfuse_cuda PUBLIC cxx_std_20)
target_compile_options(tokenfuse_cuda PRIVATE
                       $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow>
                       $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wshadow>)
