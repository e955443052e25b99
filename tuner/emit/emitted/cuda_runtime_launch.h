#include <atomic>

namespace detail {

// Kernels that nvcc compiles with the program are launched by the CUDA runtime.

inline Status cuda_failure(const char* what, cudaError_t error) {
  return failure(Code::launch_failed, "%s: %s: %s", what, cudaGetErrorName(error), cudaGetErrorString(error));
}

struct CurrentDevice {
  Status status;
  int ordinal = 0, major = 0, minor = 0, multiprocessors = 0;
};

inline CurrentDevice current_device() {
  CurrentDevice device;
  cudaError_t error = cudaGetDevice(&device.ordinal);
  const auto get = [&](int& value, cudaDeviceAttr which) {
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&value, which, device.ordinal);
  };
  get(device.major, cudaDevAttrComputeCapabilityMajor);
  get(device.minor, cudaDevAttrComputeCapabilityMinor);
  get(device.multiprocessors, cudaDevAttrMultiProcessorCount);
  if (error != cudaSuccess) device.status = cuda_failure("current device", error);
  return device;
}

// Kernels are empty in what nvcc makes for other architectures.
inline Status check_compiled() {
#if defined(__CUDA_ARCH_LIST__)
  constexpr int archs[] = {__CUDA_ARCH_LIST__};
  for (const int arch : archs)
    if (arch == 10 * kComputeCapability) return {};
  return failure(Code::wrong_device, "this program was compiled for other GPUs: add %s to nvcc's options",
                 kCompileOption);
#else
  return {};
#endif
}

// Loading a kernel is not among the calls that another thread's capture of a stream allows.
class RelaxedCapture {
 public:
  RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// Lets a kernel use all the shared memory of a device, and the cluster that it was compiled for, of which
// more than 8 blocks must be asked for. Once per kernel and device: `done` has a bit for each.
inline cudaError_t allow_resources(const void* kernel, int device, std::atomic<std::uint64_t>& done) {
  const std::uint64_t bit = device < 64 ? std::uint64_t{1} << device : 0;
  if ((done.load(std::memory_order_acquire) & bit) != 0) return cudaSuccess;
  const RelaxedCapture relaxed;
  cudaFuncAttributes attributes;
  cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
  int limit = 0;
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error == cudaSuccess)
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 limit - static_cast<int>(attributes.sharedSizeBytes));
  if (error == cudaSuccess && attributes.requiredClusterWidth * attributes.requiredClusterHeight > 8)
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
  if (error == cudaSuccess) done.fetch_or(bit, std::memory_order_release);
  return error;
}

struct Variant {
  const char* configuration;
  LaunchPlan (*plan)(const BackwardArgs&);
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

inline Status set_bytes(const fcsa::kernels::Fill& fill, CUstream stream) {
  const cudaError_t error =
      cudaMemset2DAsync(fill.to, static_cast<std::size_t>(fill.pitch), fill.value,
                        static_cast<std::size_t>(fill.width), static_cast<std::size_t>(fill.rows), stream);
  return error == cudaSuccess ? Status{} : cuda_failure("fill", error);
}

struct Destination {
  const CurrentDevice& device;
  CUstream stream;
};

inline Status launch_step(const Variant& variant, const fcsa::kernels::Launch& step, void** parameters,
                          const Destination& to) {
  const void* kernel = variant.kernel(step.kernel);
  cudaError_t error = allow_resources(kernel, to.device.ordinal, variant.resources_allowed[step.kernel]);
  if (error != cudaSuccess) return cuda_failure("shared memory and clusters", error);
  const dim3 grid(grid_x_on(step, to.device.multiprocessors), step.grid_y, step.grid_z);
  error = step.cooperative
              ? cudaLaunchCooperativeKernel(kernel, grid, dim3(step.threads), parameters, step.smem_bytes,
                                            to.stream)
              : cudaLaunchKernel(kernel, grid, dim3(step.threads), parameters, step.smem_bytes, to.stream);
  return error == cudaSuccess ? Status{} : cuda_failure("launch", error);
}

}  // namespace detail
