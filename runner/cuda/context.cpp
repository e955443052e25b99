#include "runner/cuda/context.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace fcsa::runner::cuda {

Context::Context(std::shared_ptr<const Driver> driver, CUdevice device)
    : driver_(std::move(driver)),
      device_(device),
      multiprocessors_(driver_->attribute(device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)),
      smem_per_block_bytes_(
          driver_->attribute(device, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)) {}

std::shared_ptr<const Context> Context::primary(std::shared_ptr<const Driver> driver, CUdevice device) {
  const std::shared_ptr<Context> primary(new Context(std::move(driver), device));
  primary->driver_->check(primary->driver_->primary_ctx_retain(&primary->context_, device),
                          "cuDevicePrimaryCtxRetain");
  primary->retained_ = true;
  primary->driver_->check(primary->driver_->ctx_set_current(primary->context_), "cuCtxSetCurrent");
  return primary;
}

std::shared_ptr<const Context> Context::current(std::shared_ptr<const Driver> driver) {
  CUdevice device = 0;
  driver->check(driver->ctx_get_device(&device), "cuCtxGetDevice");
  const std::shared_ptr<Context> current(new Context(std::move(driver), device));
  current->driver_->check(current->driver_->ctx_get_current(&current->context_), "cuCtxGetCurrent");
  return current;
}

Context::~Context() {
  if (retained_) driver_->primary_ctx_release(device_);
}

Context::Active::Active(const Context& context) {
  const Driver& driver = context.driver();
  CUcontext before = nullptr;
  driver.check(driver.ctx_get_current(&before), "cuCtxGetCurrent");
  if (before == context.get()) return;
  driver.check(driver.ctx_push_current(context.get()), "cuCtxPushCurrent");
  pushed_ = &driver;
}

Context::Active::~Active() {
  CUcontext popped = nullptr;
  if (pushed_ != nullptr) pushed_->ctx_pop_current(&popped);
}

Stream::Stream(std::shared_ptr<const Context> context) : context_(std::move(context)) {
  const Context::Active active(*context_);
  const Driver& driver = context_->driver();
  driver.check(driver.stream_create(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
}

Stream::~Stream() {
  context_->driver().stream_destroy(stream_);
}

Event::Event(std::shared_ptr<const Context> context) : context_(std::move(context)) {
  const Context::Active active(*context_);
  const Driver& driver = context_->driver();
  driver.check(driver.event_create(&event_, CU_EVENT_DEFAULT), "cuEventCreate");
}

Event::~Event() {
  context_->driver().event_destroy(event_);
}

CudaBuffer::CudaBuffer(std::shared_ptr<const Context> context, std::shared_ptr<AllocationCount> count,
                       std::size_t bytes)
    : context_(std::move(context)), count_(std::move(count)), bytes_(bytes) {
  const Context::Active active(*context_);
  const Driver& driver = context_->driver();
  const CUresult result = driver.mem_alloc(&pointer_, std::max<std::size_t>(bytes, 1));
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    std::size_t free = 0;
    std::size_t total = 0;
    driver.mem_get_info(&free, &total);
    throw OutOfMemory(fmt::format("cuMemAlloc: out of device memory: asked for {} bytes, {} of {} are free",
                                  bytes, free, total),
                      bytes - std::min(bytes, free));
  }
  driver.check(result, "cuMemAlloc");
  count_->add(bytes_);
}

CudaBuffer::~CudaBuffer() {
  const Driver& driver = context_->driver();
  count_->subtract(bytes_);
  try {
    const Context::Active active(*context_);
  } catch (const DeviceError&) {
    return;
  }
  driver.mem_free(pointer_);
}

}  // namespace fcsa::runner::cuda
