#include "runner/cuda/cuda_device.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "runner/cuda/context.h"
#include "runner/cuda/module.h"

namespace fcsa::runner::cuda {
namespace {

std::string uuid_of(const Driver& driver, CUdevice device) {
  CUuuid uuid{};
  driver.check(driver.device_get_uuid(&uuid, device), "cuDeviceGetUuid");
  std::string text = "GPU";
  for (int i = 0; i < 16; ++i) {
    const bool starts_group = i == 0 || i == 4 || i == 6 || i == 8 || i == 10;
    text += fmt::format("{}{:02x}", starts_group ? "-" : "", static_cast<unsigned char>(uuid.bytes[i]));
  }
  return text;
}

std::unique_ptr<Nvml> nvml_if_there() {
  try {
    return std::make_unique<Nvml>();
  } catch (const std::runtime_error&) {
    return nullptr;
  }
}

void require_inside(const Buffer& buffer, std::size_t offset, std::size_t bytes) {
  if (offset > buffer.bytes() || bytes > buffer.bytes() - offset) {
    throw std::out_of_range(
        fmt::format("bytes {} to {} of a buffer of {} bytes", offset, offset + bytes, buffer.bytes()));
  }
}

CUdeviceptr address(const Buffer& buffer, std::size_t offset) {
  return reinterpret_cast<CUdeviceptr>(buffer.data()) + offset;
}

class CudaDevice final : public Device {
 public:
  CudaDevice(std::shared_ptr<const Context> context, std::unique_ptr<Nvml> nvml, kernels::DeviceInfo info)
      : info_(std::move(info)),
        nvml_(std::move(nvml)),
        context_(std::move(context)),
        stream_(context_),
        start_(context_),
        stop_(context_) {}

  const kernels::DeviceInfo& info() const override { return info_; }

  std::unique_ptr<Module> load(const Binary& binary) override {
    return std::make_unique<CudaModule>(context_, binary);
  }

  std::unique_ptr<Buffer> allocate(std::size_t bytes) override {
    return std::make_unique<CudaBuffer>(context_, count_, bytes);
  }

  void upload(Buffer& to, std::size_t offset, const void* from, std::size_t bytes) override {
    require_inside(to, offset, bytes);
    if (bytes == 0) return;
    const Context::Active active(*context_);
    check(driver().memcpy_htod_async(address(to, offset), from, bytes, stream_.get()), "cuMemcpyHtoDAsync");
    synchronize();
  }

  void download(void* to, const Buffer& from, std::size_t offset, std::size_t bytes) override {
    require_inside(from, offset, bytes);
    if (bytes == 0) return;
    const Context::Active active(*context_);
    check(driver().memcpy_dtoh_async(to, address(from, offset), bytes, stream_.get()), "cuMemcpyDtoHAsync");
    synchronize();
  }

  void fill(Buffer& buffer, std::size_t offset, unsigned char value, std::size_t bytes) override {
    require_inside(buffer, offset, bytes);
    if (bytes == 0) return;
    const Context::Active active(*context_);
    check(driver().memset_d8_async(address(buffer, offset), value, bytes, stream_.get()), "cuMemsetD8Async");
  }

  void launch(const Module& module, const kernels::LaunchPlan& plan,
              const kernels::BackwardArgs& args) override {
    const Context::Active active(*context_);
    dynamic_cast<const CudaModule&>(module).launch(plan, args, stream_.get());
  }

  void synchronize() override { check(driver().stream_synchronize(stream_.get()), "cuStreamSynchronize"); }

  double time_ms(const std::function<void()>& enqueue) override {
    const Context::Active active(*context_);
    check(driver().event_record(start_.get(), stream_.get()), "cuEventRecord");
    enqueue();
    check(driver().event_record(stop_.get(), stream_.get()), "cuEventRecord");
    check(driver().event_synchronize(stop_.get()), "cuEventSynchronize");
    float milliseconds = 0;
    check(driver().event_elapsed_time(&milliseconds, start_.get(), stop_.get()), "cuEventElapsedTime");
    return milliseconds;
  }

  tuner::Clocks clocks() override { return nvml_ != nullptr ? nvml_->clocks(info_.uuid) : tuner::Clocks{}; }

  void reset_peak_memory() override {
    at_reset_ = count_->current;
    count_->highest = count_->current;
  }
  std::size_t peak_memory_bytes() override { return count_->highest - at_reset_; }

 private:
  const Driver& driver() const { return context_->driver(); }
  void check(CUresult result, const char* call) const { driver().check(result, call); }

  kernels::DeviceInfo info_;
  std::unique_ptr<Nvml> nvml_;
  std::shared_ptr<const Context> context_;
  Stream stream_;
  Event start_;
  Event stop_;
  std::shared_ptr<AllocationCount> count_ = std::make_shared<AllocationCount>();
  std::size_t at_reset_ = 0;
};

}  // namespace

std::string arch_name(int compute_capability) {
  const bool has_own_target = compute_capability == 90 || compute_capability == 100 ||
                              compute_capability == 103 || compute_capability == 120 ||
                              compute_capability == 121;
  return fmt::format("sm_{}{}", compute_capability, has_own_target ? "a" : "");
}

kernels::DeviceInfo describe(const Driver& driver, const Nvml* nvml, int ordinal) {
  CUdevice device = 0;
  driver.check(driver.device_get(&device, ordinal), "cuDeviceGet");
  std::array<char, 256> name{};
  driver.check(driver.device_get_name(name.data(), name.size(), device), "cuDeviceGetName");
  std::size_t memory = 0;
  driver.check(driver.device_total_mem(&memory, device), "cuDeviceTotalMem");
  const auto get = [&](CUdevice_attribute which) { return driver.attribute(device, which); };
  const int capability = 10 * get(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) +
                         get(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  kernels::DeviceInfo info;
  info.target = {
      .kind = kernels::DeviceKind::cuda,
      .arch = arch_name(capability),
      .compute_capability = capability,
      .multiprocessors = get(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
      .max_threads_per_block = get(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK),
      .smem_per_block_bytes =
          static_cast<std::size_t>(get(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)),
      .l2_bytes = static_cast<std::size_t>(get(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)),
      .memory_bytes = memory,
  };
  info.index = ordinal;
  info.name = name.data();
  info.uuid = uuid_of(driver, device);
  const std::string version = nvml != nullptr ? nvml->driver_version() : "";
  info.driver = fmt::format("{} (CUDA {}.{})", version.empty() ? "unknown" : version, driver.version() / 1000,
                            driver.version() % 1000 / 10);
  return info;
}

std::unique_ptr<Device> open_cuda_device(int ordinal, std::string compiler_version) {
  auto driver = std::make_shared<const Driver>();
  int count = 0;
  driver->check(driver->device_get_count(&count), "cuDeviceGetCount");
  if (ordinal >= count) {
    throw std::runtime_error(
        fmt::format("there is no cuda:{}: this process sees {} CUDA device{}; see `fcsa devices` "
                    "and CUDA_VISIBLE_DEVICES",
                    ordinal, count, count == 1 ? "" : "s"));
  }
  auto nvml = nvml_if_there();
  kernels::DeviceInfo info = describe(*driver, nvml.get(), ordinal);
  info.compiler = std::move(compiler_version);
  CUdevice device = 0;
  driver->check(driver->device_get(&device, ordinal), "cuDeviceGet");
  auto context = Context::primary(std::move(driver), device);
  return std::make_unique<CudaDevice>(std::move(context), std::move(nvml), std::move(info));
}

}  // namespace fcsa::runner::cuda
