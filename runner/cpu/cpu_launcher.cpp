#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "kernels/cpu/parallel.h"
#include "runner/cpu/cpu_device.h"
#include "runner/cpu/module.h"
#include "runner/device/launcher.h"

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
    ThreadPool& pool = *pool_.load();
    for (int i = 0; i < plan.count; ++i)
      if (!pool.run(0, plan.steps[i].smem_bytes, [](long long, void*) {})) throw std::bad_alloc();
  }

  void launch(const Module& module, const kernels::LaunchPlan& plan, const kernels::BackwardArgs& args,
              void* /*stream*/) override {
    dynamic_cast<const cpu::CpuModule&>(module).launch(*pool_.load(), plan, args);
  }

  void write_mask(const Module* /*module*/, const kernels::KeyLengths& lengths, void* /*stream*/) override {
    for (int batch = 0; batch < lengths.batch; ++batch) {
      unsigned char* const row = lengths.mask + batch * lengths.stride;
      const int visible = lengths.visible(batch);
      std::fill(row, row + visible, static_cast<unsigned char>(1));
      std::fill(row + visible, row + lengths.stride, static_cast<unsigned char>(0));
    }
  }

  void set_threads(int threads) override {
    const int wanted = threads > 0 ? threads : info_.target.multiprocessors;
    const std::lock_guard lock(mutex_);
    pool_.store(&pool_of(wanted));
  }

  bool capturing(void* /*stream*/) const override { return false; }

 private:
  using ThreadPool = kernels::cpu::ThreadPool;

  // Kept: a launch in another thread may still run on it.
  ThreadPool& pool_of(int threads) {
    const auto known =
        std::find_if(pools_.begin(), pools_.end(), [&](const auto& p) { return p.first == threads; });
    if (known != pools_.end()) return *known->second;
    return *pools_.emplace_back(threads, std::make_unique<ThreadPool>(threads)).second;
  }

  kernels::DeviceInfo info_ = cpu::describe_cpu("");
  std::mutex mutex_;  // of set_threads alone: a launch takes no lock that a fork() could leave locked
  std::vector<std::pair<int, std::unique_ptr<ThreadPool>>> pools_;
  std::atomic<ThreadPool*> pool_{&pool_of(info_.target.multiprocessors)};
};

}  // namespace

std::unique_ptr<Launcher> make_cpu_launcher() {
  return std::make_unique<CpuLauncher>();
}

}  // namespace fcsa::runner
