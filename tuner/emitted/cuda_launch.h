#include <atomic>

namespace detail {

using KernelFunction = void (*)(Args);

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
  const KernelFunction* kernels;                  // in the order that Launch::kernel counts
  std::atomic<std::uint64_t>* resources_allowed;  // one for each kernel
};

// From the description of a compiled configuration that the tables below have.
template <typename Compiled>
constexpr Variant variant() {
  return {Compiled::text, Compiled::plan, Compiled::kernels, Compiled::resources_allowed};
}

inline Status launch(const Variant& variant, const Args& args, const LaunchPlan& plan, int device,
                     cudaStream_t stream) {
  for (int i = 0; i < plan.count; ++i) {
    const fcsa::kernels::Launch& step = plan.steps[i];
    const void* kernel = reinterpret_cast<const void*>(variant.kernels[step.kernel]);
    cudaError_t error = allow_resources(kernel, device, variant.resources_allowed[step.kernel]);
    if (error != cudaSuccess) return cuda_failure("shared memory and clusters", error);
    Args copy = args;
    void* parameters[] = {&copy};
    error = cudaLaunchKernel(kernel, dim3(step.grid_x, step.grid_y, step.grid_z), dim3(step.threads),
                             parameters, step.smem_bytes, stream);
    if (error != cudaSuccess) return cuda_failure("launch", error);
  }
  return {};
}

}  // namespace detail
