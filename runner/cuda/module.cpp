#include "runner/cuda/module.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <utility>

namespace fcsa::runner::cuda {
namespace {

std::string read_binary(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw DeviceError(fmt::format("cannot read the compiled kernel {}", path), false);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Writes the CUtensorMap of a map whose tensor starts at `start`.
void encode(const Driver& driver, const kernels::TensorMap& map, const void* start,
            unsigned long long (&encoded)[16]) {
  static_assert(sizeof(CUtensorMap) == sizeof(encoded));
  cuuint64_t sizes[5], strides[4];
  cuuint32_t box[5], element_strides[5];
  for (int i = 0; i < map.rank; ++i) {
    sizes[i] = static_cast<cuuint64_t>(map.size[i]);
    box[i] = static_cast<cuuint32_t>(map.box[i]);
    element_strides[i] = 1;
    if (i > 0) strides[i - 1] = static_cast<cuuint64_t>(map.stride_bytes[i - 1]);
  }
  const auto swizzle = map.swizzle_bytes == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                       : map.swizzle_bytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                 : CU_TENSOR_MAP_SWIZZLE_32B;
  driver.check(
      driver.tensor_map_encode_tiled(reinterpret_cast<CUtensorMap*>(encoded), CU_TENSOR_MAP_DATA_TYPE_UINT16,
                                     static_cast<cuuint32_t>(map.rank), const_cast<void*>(start), sizes,
                                     strides, box, element_strides, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                                     CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
      "cuTensorMapEncodeTiled");
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

void CudaModule::launch(const kernels::LaunchPlan& plan, const kernels::Args& args, CUstream stream) const {
  kernels::TensorMaps maps;
  for (int i = 0; i < plan.map_count; ++i)
    encode(context_->driver(), plan.maps[i], kernels::start_of(plan.maps[i], args), maps.map[i]);
  for (int i = 0; i < plan.count; ++i) launch_step(plan.steps[i], args, maps, stream);
}

void CudaModule::launch_step(const kernels::Launch& step, const kernels::Args& args,
                             const kernels::TensorMaps& maps, CUstream stream) const {
  const auto index = static_cast<std::size_t>(step.kernel);
  if (index >= functions_.size()) {
    throw std::out_of_range(
        fmt::format("the plan launches kernel {} of a binary with {}", step.kernel, functions_.size()));
  }
  // A kernel that takes no maps doesn't look at the second parameter.
  void* parameters[] = {const_cast<kernels::Args*>(&args), const_cast<kernels::TensorMaps*>(&maps)};
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
