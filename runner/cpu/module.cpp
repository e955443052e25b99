#include "runner/cpu/module.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
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
constexpr std::size_t kGuardBytes = 1024;  // behind the scratch of a task
constexpr unsigned char kPoison = 0xff;

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

void CpuModule::require_kernels_of(const kernels::LaunchPlan& plan) const {
  for (int i = 0; i < plan.count; ++i) {
    if (const int index = plan.steps[i].kernel; static_cast<std::size_t>(index) >= functions_.size()) {
      throw std::out_of_range(
          fmt::format("the plan launches kernel {} of a binary with {}", index, functions_.size()));
    }
  }
}

void CpuModule::launch(kernels::cpu::ThreadPool& pool, const kernels::LaunchPlan& plan,
                       const kernels::BackwardArgs& args) const {
  require_kernels_of(plan);
  if (!kernels::cpu::run_plan(pool, plan, args, functions_.data())) throw std::bad_alloc();
}

void CpuModule::launch_on_poison(kernels::cpu::ThreadPool& pool, const kernels::LaunchPlan& plan,
                                 const kernels::BackwardArgs& args) const {
  if (plan.nothing.to_compute) return launch(pool, plan, args);
  require_kernels_of(plan);
  std::atomic<bool> damaged{false};
  for (int i = 0; i < plan.count; ++i) {
    const kernels::Launch& step = plan.steps[i];
    const kernels::cpu::TaskFunction function = functions_[static_cast<std::size_t>(step.kernel)];
    const long long tasks = static_cast<long long>(step.grid_x) * step.grid_y * step.grid_z;
    const std::size_t bytes = step.smem_bytes;
    const bool ran = pool.run(tasks, bytes + kGuardBytes, [&](long long task, void* scratch) {
      std::memset(scratch, kPoison, bytes + kGuardBytes);
      function(args, task, scratch);
      const auto* guard = static_cast<const unsigned char*>(scratch) + bytes;
      if (std::any_of(guard, guard + kGuardBytes, [](unsigned char byte) { return byte != kPoison; }))
        damaged = true;
    });
    if (!ran) throw std::bad_alloc();
  }
  if (damaged) throw DeviceError("a task wrote behind its scratch", false);
}

}  // namespace fcsa::runner::cpu
