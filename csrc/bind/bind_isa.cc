#include <pybind11/stl.h>

#include <cstdlib>
#include <stdexcept>
#include <vector>

#include "bind/bind.h"
#include "bind/isa_choice.h"
#include "core/thread_pool.h"

namespace py = pybind11;

namespace tokenfuse {
namespace {

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (int i = 0; i < kNumIsas; ++i) {
    if (isa_available(static_cast<Isa>(i))) names.emplace_back(isa_name(static_cast<Isa>(i)));
  }
  return names;
}

}  // namespace

Isa isa_or_throw(const std::string& name) {
  Isa isa = Isa::kScalar;
  const IsaChoice choice = choose_isa(name.c_str(), &isa);
  if (choice == IsaChoice::kOk) return isa;
  const char* forced = std::getenv("TOKENFUSE_FORCE_ISA");
  const bool from_environment = name.empty() && forced != nullptr;
  std::string text = from_environment ? std::string("TOKENFUSE_FORCE_ISA=") + forced
                                      : "instruction set '" + name + "'";
  text += choice == IsaChoice::kUnknownName ? " is not known" : " is not available on this machine";
  text += "; choose one of";
  const char* comma = " ";
  for (const std::string& one : available_isas()) {
    text += comma + one;
    comma = ", ";
  }
  if (from_environment) text += ", or unset it";
  throw std::invalid_argument(text);
}

void bind_isa(py::module_& module) {
  module.def("available_isas", &available_isas, "Instruction sets that run here, worst first.");
  module.def(
      "chosen_isa", [](const std::string& name) { return isa_name(isa_or_throw(name)); },
      py::arg("name") = "", "The one a name, TOKENFUSE_FORCE_ISA or the best stands for.");
  module.def("default_num_threads", &default_num_threads,
             "Threads this process may use: affinity and cgroup quota.");
}

}  // namespace tokenfuse
