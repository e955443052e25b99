#include <atomic>

namespace detail {

inline Status cuda_failure(const char* what, cudaError_t error) {
  return failure(Code::launch_failed, "%s: %s: %s", what, cudaGetErrorName(error), cudaGetErrorString(error));
}

// Lets a kernel use all the shared memory of the current device, and the cluster that it was compiled for, of
// which more than 8 blocks must be asked for. Once per kernel and device: `done` has a bit for each.
inline cudaError_t allow_resources(const void* kernel, int device, std::atomic<std::uint64_t>& done) {
  const std::uint64_t bit = device < 64 ? std::uint64_t{1} << device : 0;
  if ((done.load(std::memory_order_acquire) & bit) != 0) return cudaSuccess;
  cudaFuncAttributes attributes;
  cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
  int limit = 0;
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error == cudaSuccess)
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 limit - static_cast<int>(attributes.sharedSizeBytes));
  if (error == cudaSuccess && attributes.requiredClusterHeight > 8)
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
  if (error == cudaSuccess) done.fetch_or(bit, std::memory_order_release);
  return error;
}

struct Variant {
  const char* configuration;
  LaunchPlan (*plan)(const Args&);
  const void* (*kernel)(int);                     // Launch::kernel
  std::atomic<std::uint64_t>* resources_allowed;  // one for each kernel
};

// From the description of a compiled configuration that the tables below have.
template <typename Compiled>
constexpr Variant variant() {
  return {Compiled::text, Compiled::plan, Compiled::kernel, Compiled::resources_allowed};
}

// cuTensorMapEncodeTiled of the driver, without linking against it; null where there is none.
inline decltype(&cuTensorMapEncodeTiled) tensor_map_encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
#if CUDART_VERSION >= 12050
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
#else
  const cudaError_t error =
      cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found);
#endif
  const bool usable = error == cudaSuccess && found == cudaDriverEntryPointSuccess;
  return usable ? reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function) : nullptr;
}

inline Status encode(const fcsa::kernels::TensorMap& map, const void* start,
                     unsigned long long (&encoded)[16]) {
  static const auto encoder = tensor_map_encoder();
  if (encoder == nullptr)
    return failure(Code::launch_failed, "the CUDA driver has no cuTensorMapEncodeTiled: it needs CUDA 12");
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
  const CUresult result = encoder(reinterpret_cast<CUtensorMap*>(encoded), CU_TENSOR_MAP_DATA_TYPE_UINT16,
                                  static_cast<cuuint32_t>(map.rank), const_cast<void*>(start), sizes, strides,
                                  box, element_strides, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                                  CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result == CUDA_SUCCESS) return {};
  return failure(Code::launch_failed, "cuTensorMapEncodeTiled: error %d", static_cast<int>(result));
}

inline Status launch(const Variant& variant, const Args& args, const LaunchPlan& plan, int device,
                     cudaStream_t stream) {
  fcsa::kernels::TensorMaps maps;
  for (int i = 0; i < plan.map_count; ++i) {
    const Status status = encode(plan.maps[i], start_of(plan.maps[i], args), maps.map[i]);
    if (!status.ok()) return status;
  }
  for (int i = 0; i < plan.count; ++i) {
    const fcsa::kernels::Launch& step = plan.steps[i];
    const void* kernel = variant.kernel(step.kernel);
    cudaError_t error = allow_resources(kernel, device, variant.resources_allowed[step.kernel]);
    if (error != cudaSuccess) return cuda_failure("shared memory and clusters", error);
    int multiprocessors = 0;
    error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
    if (error != cudaSuccess) return cuda_failure("multiprocessors", error);
    Args copy = args;
    void* parameters[] = {&copy, &maps};  // a kernel that takes no maps doesn't look at them
    error = cudaLaunchKernel(kernel, dim3(grid_x_on(step, multiprocessors), step.grid_y, step.grid_z),
                             dim3(step.threads), parameters, step.smem_bytes, stream);
    if (error != cudaSuccess) return cuda_failure("launch", error);
  }
  return {};
}

}  // namespace detail
