#include "runner/cpu/module.h"

#include <fmt/format.h>

#include <new>
#include <stdexcept>
#include <string_view>

#include "kernels/cpu/builtin.h"

namespace fcsa::runner::cpu {
namespace {

constexpr const char* kNoCodeThere =
    "no code may be loaded from there (a file system mounted with noexec?): choose another cache directory "
    "(XDG_CACHE_HOME)";
constexpr std::string_view kBuiltinPrefix = "builtin:";

}  // namespace

CpuModule::CpuModule(const Binary& binary) {
  try {
    if (binary.path.starts_with(kBuiltinPrefix)) {
      const auto problem = kernels::problem_from_text(binary.path.substr(kBuiltinPrefix.size()));
      functions_ = kernels::cpu::builtin_kernels(problem.op, kernels::traits_of(problem)).functions;
    } else {
      load_library(binary);
    }
  } catch (const std::exception& error) {
    throw DeviceError(error.what(), false);
  }
}

void CpuModule::load_library(const Binary& binary) {
  try {
    library_ = DynamicLibrary::open(binary.path);
  } catch (const std::runtime_error& error) {
    const std::string_view what = error.what();
    const bool forbidden = what.find("failed to map segment") != std::string_view::npos ||
                           what.find("Operation not permitted") != std::string_view::npos;
    if (!forbidden && !mounted_noexec(binary.path)) throw;
    throw std::runtime_error(fmt::format("{}: {}", what, kNoCodeThere));
  }
  for (const auto& symbol : binary.symbols)
    functions_.push_back(reinterpret_cast<kernels::cpu::TaskFunction>(library_->get(symbol)));
}

void CpuModule::launch(kernels::cpu::ThreadPool& pool, const kernels::LaunchPlan& plan,
                       const kernels::BackwardArgs& args) const {
  for (int i = 0; i < plan.count; ++i) {
    if (const int index = plan.steps[i].kernel; static_cast<std::size_t>(index) >= functions_.size()) {
      throw std::out_of_range(
          fmt::format("the plan launches kernel {} of a binary with {}", index, functions_.size()));
    }
  }
  if (!kernels::cpu::run_plan(pool, plan, args, functions_.data())) throw std::bad_alloc();
}

}  // namespace fcsa::runner::cpu
