#include <fmt/format.h>

#include <stdexcept>
#include <utility>

#include "runner/cuda/cuda_device.h"
#include "runner/cuda/module.h"
#include "runner/device/launcher.h"

namespace fcsa::runner {
namespace {

using cuda::Context;
using cuda::Driver;

std::uint64_t id_of(const Driver& driver, CUcontext context) {
  unsigned long long id = 0;
  driver.check(driver.ctx_get_id(context, &id), "cuCtxGetId");
  return id;
}

class CudaLauncher final : public Launcher {
 public:
  explicit CudaLauncher(std::shared_ptr<const Context> context)
      : context_(std::move(context)),
        id_(id_of(context_->driver(), context_->get())),
        info_(cuda::describe(context_->driver(), nullptr, context_->device())) {}

  const kernels::DeviceInfo& info() const override { return info_; }

  std::unique_ptr<Module> load(const Binary& binary) const override {
    require_ours();
    return std::make_unique<cuda::CudaModule>(context_, binary);
  }

  void reserve(const kernels::LaunchPlan&) override {}

  void launch(const Module& module, const kernels::LaunchPlan& plan, const kernels::BackwardArgs& args,
              void* stream) override {
    require_ours();
    const Context::Active active(*context_);
    dynamic_cast<const cuda::CudaModule&>(module).launch(plan, args, static_cast<CUstream>(stream));
  }

  std::optional<kernels::KernelSource> mask_source() const override {
    return kernels::KernelSource{kernels::DeviceKind::cuda,
                                 kernels::flattened_source("kernels/common/key_lengths.cuh"),
                                 {"fcsa::kernels::write_key_mask"}};
  }

  void write_mask(const Module* module, const kernels::KeyLengths& lengths, void* stream) override {
    require_ours();
    const Context::Active active(*context_);
    dynamic_cast<const cuda::CudaModule&>(*module).write_mask(lengths, static_cast<CUstream>(stream));
  }

  bool capturing(void* stream) const override {
    require_ours();
    const Context::Active active(*context_);
    const Driver& driver = context_->driver();
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    const CUresult result = driver.stream_is_capturing(static_cast<CUstream>(stream), &status);
    // Asked of the default stream while another one, which waits for it, captures.
    if (result == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT) return true;
    driver.check(result, "cuStreamIsCapturing");
    return status != CU_STREAM_CAPTURE_STATUS_NONE;
  }

 private:
  // A thread without a context may call. One that works in another context passes a stream and pointers of
  // that one.
  void require_ours() const {
    const Driver& driver = context_->driver();
    CUcontext current = nullptr;
    driver.check(driver.ctx_get_current(&current), "cuCtxGetCurrent");
    if (current == nullptr || (current == context_->get() && id_of(driver, current) == id_)) return;
    throw std::invalid_argument(fmt::format(
        "this was made in a CUDA context of {} that is not the one that the calling thread has current: make "
        "that one current (cudaSetDevice, cuCtxSetCurrent), or, where it was reset or destroyed, make this "
        "anew",
        info_.selector()));
  }

  std::shared_ptr<const Context> context_;
  std::uint64_t id_;
  kernels::DeviceInfo info_;
};

}  // namespace

struct CudaContexts::Impl {
  std::shared_ptr<const Driver> driver = std::make_shared<const Driver>();
};

CudaContexts::CudaContexts() : impl_(std::make_unique<Impl>()) {}
CudaContexts::~CudaContexts() = default;

std::optional<std::uint64_t> CudaContexts::current() const {
  const Driver& driver = *impl_->driver;
  CUcontext current = nullptr;
  driver.check(driver.ctx_get_current(&current), "cuCtxGetCurrent");
  return current != nullptr ? std::optional(id_of(driver, current)) : std::nullopt;
}

std::unique_ptr<Launcher> CudaContexts::attach() const {
  return std::make_unique<CudaLauncher>(Context::current(impl_->driver));
}

}  // namespace fcsa::runner
