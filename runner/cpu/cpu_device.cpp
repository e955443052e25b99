#include "runner/cpu/cpu_device.h"

#include <fmt/format.h>
#include <malloc.h>
#include <sys/utsname.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/parallel.h"
#include "runner/cpu/host.h"
#include "runner/cpu/memory.h"
#include "runner/cpu/module.h"

namespace fcsa::runner::cpu {
namespace {

// Where the operating system doesn't tell: common sizes.
constexpr std::size_t kUsualL1Bytes = std::size_t{32} << 10;
constexpr std::size_t kUsualL2Bytes = std::size_t{1} << 20;

std::string kernel_release() {
  utsname names{};
  return uname(&names) == 0 ? fmt::format("{} {}", names.sysname, names.release) : "unknown";
}

// FCSA_NUM_THREADS may ask for fewer than there are.
int cores(const Host& host) {
  return std::min(host.usable_cores(), kernels::cpu::usable_cores());
}

std::string identity(const Host& host) {
  const std::string text = fmt::format("{}|{}|{}", host.model_name(), cores(host), host.instruction_flags());
  return fmt::format("CPU-{:016x}", XXH3_64bits(text.data(), text.size()));
}

unsigned char* bytes_at(const Buffer& buffer, std::size_t offset, std::size_t bytes) {
  if (offset > buffer.bytes() || bytes > buffer.bytes() - offset) {
    throw std::out_of_range(
        fmt::format("bytes {} to {} of a buffer of {} bytes", offset, offset + bytes, buffer.bytes()));
  }
  return static_cast<unsigned char*>(buffer.data()) + offset;
}

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(kernels::DeviceInfo info)
      : info_(std::move(info)), pool_(info_.target.multiprocessors) {}

  const kernels::DeviceInfo& info() const override { return info_; }

  std::unique_ptr<Module> load(const Binary& binary) override { return std::make_unique<CpuModule>(binary); }

  std::unique_ptr<Buffer> allocate(std::size_t bytes) override { return std::make_unique<HostBuffer>(bytes); }
  std::size_t fence_bytes() const override { return HostBuffer::kPageBytes; }
  void poison_scratch(bool poison) override { poison_scratch_ = poison; }

  void upload(Buffer& to, std::size_t offset, const void* from, std::size_t bytes) override {
    if (bytes != 0) std::memcpy(bytes_at(to, offset, bytes), from, bytes);
  }

  void download(void* to, const Buffer& from, std::size_t offset, std::size_t bytes) override {
    if (bytes != 0) std::memcpy(to, bytes_at(from, offset, bytes), bytes);
  }

  void fill(Buffer& buffer, std::size_t offset, unsigned char value, std::size_t bytes) override {
    if (bytes != 0) std::memset(bytes_at(buffer, offset, bytes), value, bytes);
  }

  void launch(const Module& module, const kernels::LaunchPlan& plan,
              const kernels::BackwardArgs& args) override {
    const auto& kernels = dynamic_cast<const CpuModule&>(module);
    if (poison_scratch_) return kernels.launch_on_poison(*pool_, plan, args);
    kernels.launch(*pool_, plan, args);
  }

  void synchronize() override {}

  double time_ms(const std::function<void()>& enqueue) override {
    const auto start = std::chrono::steady_clock::now();
    enqueue();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }

  tuner::Clocks clocks() override {
    tuner::Clocks clocks;
    clocks.sm_mhz = Host().core_mhz();
    return clocks;
  }

  // The pool keeps its threads' scratch, and malloc what was freed: both go back first, so that the next
  // launch pays for its scratch again.
  void reset_peak_memory() override {
    pool_.reset();
    malloc_trim(0);
    peak_.reset();
    pool_.emplace(info_.target.multiprocessors);
  }
  std::size_t peak_memory_bytes() override { return peak_.bytes(); }

 private:
  kernels::DeviceInfo info_;
  std::optional<kernels::cpu::ThreadPool> pool_;
  bool poison_scratch_ = false;
  PeakResident peak_;
};

}  // namespace

kernels::DeviceInfo describe_cpu(std::string compiler_version) {
  const Host host;
  const auto or_usual = [](std::size_t told, std::size_t usual) { return told != 0 ? told : usual; };
  kernels::DeviceInfo info;
  info.target.kind = kernels::DeviceKind::cpu;
  info.target.arch = kernels::cpu::host_instruction_set();
  info.target.multiprocessors = cores(host);
  info.target.smem_per_block_bytes = or_usual(host.cache_bytes(1), kUsualL1Bytes);
  info.target.l2_bytes = or_usual(host.cache_bytes(2), kUsualL2Bytes);
  info.target.memory_bytes = host.memory_bytes();
  info.name = host.model_name();
  info.uuid = identity(host);
  info.driver = kernel_release();
  info.compiler = std::move(compiler_version);
  return info;
}

std::unique_ptr<Device> open_cpu_device(std::string compiler_version) {
  return std::make_unique<CpuDevice>(describe_cpu(std::move(compiler_version)));
}

}  // namespace fcsa::runner::cpu
