#include "bind/bind.h"

PYBIND11_MODULE(_native, module) {
  module.doc() = "Compiled kernels and engine of tokenfuse; the public API is tokenfuse_sdk.";
  tokenfuse::bind_isa(module);
  tokenfuse::bind_linear_ops(module);
  tokenfuse::bind_row_ops(module);
  tokenfuse::bind_attention_ops(module);
  tokenfuse::bind_engine(module);
  tokenfuse::bind_linear_times(module);
}
