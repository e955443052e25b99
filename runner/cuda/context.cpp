#include "runner/cuda/context.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <utility>

namespace fcsa::runner::cuda {
namespace {

// What a launch may use without asking, static shared memory included.
constexpr int kDefaultSmemBytes = 48 * 1024;

std::string read_binary(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw DeviceError(fmt::format("cannot read the compiled kernel {}", path), false);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

Context::Context(std::shared_ptr<const Driver> driver, CUdevice device)
    : driver_(std::move(driver)), device_(device) {
  driver_->check(driver_->primary_ctx_retain(&context_, device_), "cuDevicePrimaryCtxRetain");
}

Context::~Context() {
  driver_->primary_ctx_release(device_);
}

void Context::make_current() const {
  driver_->check(driver_->ctx_set_current(context_), "cuCtxSetCurrent");
}

Stream::Stream(std::shared_ptr<const Context> context) : context_(std::move(context)) {
  context_->make_current();
  const Driver& driver = context_->driver();
  driver.check(driver.stream_create(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
}

Stream::~Stream() {
  context_->driver().stream_destroy(stream_);
}

Event::Event(std::shared_ptr<const Context> context) : context_(std::move(context)) {
  context_->make_current();
  const Driver& driver = context_->driver();
  driver.check(driver.event_create(&event_, CU_EVENT_DEFAULT), "cuEventCreate");
}

Event::~Event() {
  context_->driver().event_destroy(event_);
}

CudaBuffer::CudaBuffer(std::shared_ptr<const Context> context, std::shared_ptr<AllocationCount> count,
                       std::size_t bytes)
    : context_(std::move(context)), count_(std::move(count)), bytes_(bytes) {
  context_->make_current();
  const Driver& driver = context_->driver();
  const CUresult result = driver.mem_alloc(&pointer_, std::max<std::size_t>(bytes, 1));
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    std::size_t free = 0;
    std::size_t total = 0;
    driver.mem_get_info(&free, &total);
    throw OutOfMemory(fmt::format("cuMemAlloc: out of device memory: asked for {} bytes, {} of {} are free",
                                  bytes, free, total));
  }
  driver.check(result, "cuMemAlloc");
  count_->add(bytes_);
}

CudaBuffer::~CudaBuffer() {
  const Driver& driver = context_->driver();
  count_->subtract(bytes_);
  try {
    context_->make_current();
  } catch (const DeviceError&) {
    return;
  }
  driver.mem_free(pointer_);
}

CudaModule::CudaModule(std::shared_ptr<const Context> context, const Binary& binary)
    : context_(std::move(context)) {
  context_->make_current();
  const Driver& driver = context_->driver();
  const std::string image = read_binary(binary.path);
  const CUresult result = driver.module_load_data(&module_, image.c_str());
  driver.check(result, fmt::format("cuModuleLoadData of {}", binary.path).c_str());
  try {
    find_entries(binary);
  } catch (...) {
    driver.module_unload(module_);
    throw;
  }
}

void CudaModule::find_entries(const Binary& binary) {
  const Driver& driver = context_->driver();
  for (const auto& symbol : binary.symbols) {
    Entry entry;
    const CUresult result = driver.module_get_function(&entry.function, module_, symbol.c_str());
    driver.check(result, fmt::format("cuModuleGetFunction of '{}' in {}", symbol, binary.path).c_str());
    int static_bytes = 0;
    driver.check(
        driver.func_get_attribute(&static_bytes, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, entry.function),
        "cuFuncGetAttribute");
    // Clusters of 16 blocks are not portable and must be asked for. Where there are none the launch says so.
    driver.func_set_attribute(entry.function, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1);
    entry.smem_allowed = static_cast<unsigned>(std::max(kDefaultSmemBytes - static_bytes, 0));
    entries_.push_back(entry);
  }
}

CudaModule::~CudaModule() {
  try {
    context_->make_current();
  } catch (const DeviceError&) {
    return;
  }
  context_->driver().module_unload(module_);
}

CUfunction CudaModule::function(int index, unsigned smem_bytes) const {
  if (index < 0 || static_cast<std::size_t>(index) >= entries_.size()) {
    throw std::out_of_range(
        fmt::format("the plan launches kernel {} of a binary with {}", index, entries_.size()));
  }
  Entry& entry = entries_[static_cast<std::size_t>(index)];
  if (smem_bytes > entry.smem_allowed) {
    const Driver& driver = context_->driver();
    driver.check(driver.func_set_attribute(entry.function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                           static_cast<int>(smem_bytes)),
                 fmt::format("cuFuncSetAttribute for {} bytes of dynamic shared memory", smem_bytes).c_str());
    entry.smem_allowed = smem_bytes;
  }
  return entry.function;
}

}  // namespace fcsa::runner::cuda
