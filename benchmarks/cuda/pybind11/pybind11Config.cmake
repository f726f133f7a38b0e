# pybind11 from headers alone, for a machine that has no package of it but PyTorch, which brings them:
# -Dpybind11_DIR=<this folder> -DTOKENFUSE_PYBIND11_INCLUDE=<the folder that has pybind11/>.
# find_package(Python COMPONENTS Interpreter Development.Module) comes before it.
if(NOT EXISTS "${TOKENFUSE_PYBIND11_INCLUDE}/pybind11/pybind11.h")
  message(FATAL_ERROR "TOKENFUSE_PYBIND11_INCLUDE=${TOKENFUSE_PYBIND11_INCLUDE} has no pybind11/pybind11.h")
endif()

function(pybind11_add_module name)
  Python_add_library(${name} MODULE WITH_SOABI ${ARGN})
  target_include_directories(${name} SYSTEM PRIVATE "${TOKENFUSE_PYBIND11_INCLUDE}")
  set_target_properties(${name} PROPERTIES CXX_VISIBILITY_PRESET hidden)
endfunction()
