#include <new>

#include "kernels/cpu/parallel.h"
#include "runner/cpu/cpu_device.h"
#include "runner/cpu/module.h"
#include "runner/launcher.h"

namespace fcsa::runner {
namespace {

class CpuLauncher final : public Launcher {
 public:
  const kernels::DeviceInfo& info() const override { return info_; }

  std::unique_ptr<Module> load(const Binary& binary) const override {
    return std::make_unique<cpu::CpuModule>(binary);
  }

  // A run without tasks.
  void reserve(const kernels::LaunchPlan& plan) override {
    for (int i = 0; i < plan.count; ++i)
      if (!pool_.run(0, plan.steps[i].smem_bytes, [](long long, void*) {})) throw std::bad_alloc();
  }

  void launch(const Module& module, const kernels::LaunchPlan& plan, const kernels::BackwardArgs& args,
              void* /*stream*/) override {
    dynamic_cast<const cpu::CpuModule&>(module).launch(pool_, plan, args);
  }

  bool capturing(void* /*stream*/) const override { return false; }

 private:
  kernels::DeviceInfo info_ = cpu::describe_cpu("");
  kernels::cpu::ThreadPool pool_{info_.target.multiprocessors};
};

}  // namespace

std::unique_ptr<Launcher> make_cpu_launcher() {
  return std::make_unique<CpuLauncher>();
}

}  // namespace fcsa::runner
