#include "runner/cuda/module.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <utility>

#include "kernels/common/empty.h"
#include "kernels/common/logits.h"
#include "kernels/common/tensor_map.h"

namespace fcsa::runner::cuda {
namespace {

std::string read_binary(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw DeviceError(fmt::format("cannot read the compiled kernel {}", path), false);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Loads that would end a capture under way in another thread don't, in this mode.
class RelaxedCapture {
 public:
  explicit RelaxedCapture(const Driver& driver) : driver_(driver) { exchange(); }
  ~RelaxedCapture() { exchange(); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  void exchange() { driver_.thread_exchange_stream_capture_mode(&mode_); }

  const Driver& driver_;
  CUstreamCaptureMode mode_ = CU_STREAM_CAPTURE_MODE_RELAXED;
};

}  // namespace

CudaModule::CudaModule(std::shared_ptr<const Context> context, const Binary& binary)
    : context_(std::move(context)) {
  const Context::Active active(*context_);
  const Driver& driver = context_->driver();
  const RelaxedCapture relaxed(driver);
  const std::string image = read_binary(binary.path);
  const CUresult result = driver.module_load_data(&module_, image.c_str());
  driver.check(result, fmt::format("cuModuleLoadData of {}", binary.path).c_str());
  try {
    find_functions(binary);
  } catch (...) {
    driver.module_unload(module_);
    throw;
  }
}

void CudaModule::find_functions(const Binary& binary) {
  const Driver& driver = context_->driver();
  for (const auto& symbol : binary.symbols) {
    CUfunction function = nullptr;
    const CUresult result = driver.module_get_function(&function, module_, symbol.c_str());
    driver.check(result, fmt::format("cuModuleGetFunction of '{}' in {}", symbol, binary.path).c_str());
    int static_bytes = 0;
    driver.check(driver.func_get_attribute(&static_bytes, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function),
                 "cuFuncGetAttribute");
    driver.check(driver.func_set_attribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                           context_->smem_per_block_bytes() - static_bytes),
                 "cuFuncSetAttribute for dynamic shared memory");
    // Clusters of 16 blocks are not portable and must be asked for. Where there are none the launch says so.
    driver.func_set_attribute(function, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1);
    functions_.push_back(function);
  }
}

CudaModule::~CudaModule() {
  try {
    const Context::Active active(*context_);
    context_->driver().module_unload(module_);
  } catch (const DeviceError&) {
    return;
  }
}

void CudaModule::launch(const kernels::LaunchPlan& plan, const kernels::BackwardArgs& args,
                        CUstream stream) const {
  const Driver& driver = context_->driver();
  if (plan.nothing.to_compute) return write_nothing(plan, args, stream);
  const auto encoded = kernels::encode_maps(driver.tensor_map_encode_tiled, plan, args);
  driver.check(encoded.error, "cuTensorMapEncodeTiled");
  kernels::BackwardArgs usable = args;
  usable.eps = kernels::usable_eps_gpu(args.eps);
  for (int i = 0; i < plan.count; ++i) launch_step(plan.steps[i], usable, encoded.maps, stream);
}

void CudaModule::write_mask(const kernels::KeyLengths& lengths, CUstream stream) const {
  const Driver& driver = context_->driver();
  void* parameters[] = {const_cast<kernels::KeyLengths*>(&lengths)};
  driver.check(driver.launch_kernel(functions_.at(0), static_cast<unsigned>(lengths.blocks()), 1, 1,
                                    kernels::kKeyMaskThreads, 1, 1, 0, stream, parameters, nullptr),
               "cuLaunchKernel of the key mask");
}

void CudaModule::write_nothing(const kernels::LaunchPlan& plan, const kernels::BackwardArgs& args,
                               CUstream stream) const {
  const Driver& driver = context_->driver();
  kernels::Fills(plan.nothing, args).for_each([&](const kernels::Fill& fill) {
    driver.check(driver.memset_d2d8_async(
                     reinterpret_cast<CUdeviceptr>(fill.to), static_cast<std::size_t>(fill.pitch), fill.value,
                     static_cast<std::size_t>(fill.width), static_cast<std::size_t>(fill.rows), stream),
                 "cuMemsetD2D8Async");
  });
}

void CudaModule::launch_step(const kernels::Launch& step, const kernels::BackwardArgs& args,
                             const kernels::TensorMaps& maps, CUstream stream) const {
  const auto index = static_cast<std::size_t>(step.kernel);
  if (index >= functions_.size()) {
    throw std::out_of_range(
        fmt::format("the plan launches kernel {} of a binary with {}", step.kernel, functions_.size()));
  }
  // A kernel that takes no maps doesn't look at the second parameter.
  void* parameters[] = {const_cast<kernels::BackwardArgs*>(&args), const_cast<kernels::TensorMaps*>(&maps)};
  const unsigned grid_x = kernels::grid_x_on(step, context_->multiprocessors());
  const Driver& driver = context_->driver();
  const CUfunction function = functions_[index];
  const CUresult result =
      step.cooperative
          ? driver.launch_cooperative_kernel(function, grid_x, step.grid_y, step.grid_z, step.threads, 1, 1,
                                             step.smem_bytes, stream, parameters)
          : driver.launch_kernel(function, grid_x, step.grid_y, step.grid_z, step.threads, 1, 1,
                                 step.smem_bytes, stream, parameters, nullptr);
  if (result == CUDA_SUCCESS) return;
  driver.check(result,
               fmt::format("cuLaunchKernel of grid {}x{}x{}, {} threads, {} bytes of dynamic shared memory",
                           grid_x, step.grid_y, step.grid_z, step.threads, step.smem_bytes)
                   .c_str());
}

}  // namespace fcsa::runner::cuda
