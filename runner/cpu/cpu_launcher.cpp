#include <memory>
#include <mutex>

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
    const auto pool = current_pool();
    for (int i = 0; i < plan.count; ++i) pool->run(0, plan.steps[i].smem_bytes, [](long long, void*) {});
  }

  void launch(const Module& module, const kernels::LaunchPlan& plan, const kernels::BackwardArgs& args,
              void* /*stream*/) override {
    dynamic_cast<const cpu::CpuModule&>(module).launch(*current_pool(), plan, args);
  }

  void set_threads(int threads) override {
    const int wanted = threads > 0 ? threads : info_.target.multiprocessors;
    const std::lock_guard lock(mutex_);
    if (wanted == threads_) return;
    pool_ = std::make_shared<ThreadPool>(wanted);
    threads_ = wanted;
  }

  bool capturing(void* /*stream*/) const override { return false; }

 private:
  using ThreadPool = kernels::cpu::ThreadPool;

  // Lives on until the launch that runs on it has returned.
  std::shared_ptr<ThreadPool> current_pool() const {
    const std::lock_guard lock(mutex_);
    return pool_;
  }

  kernels::DeviceInfo info_ = cpu::describe_cpu("");
  mutable std::mutex mutex_;  // of what follows
  int threads_ = info_.target.multiprocessors;
  std::shared_ptr<ThreadPool> pool_ = std::make_shared<ThreadPool>(threads_);
};

}  // namespace

std::unique_ptr<Launcher> make_cpu_launcher() {
  return std::make_unique<CpuLauncher>();
}

}  // namespace fcsa::runner
