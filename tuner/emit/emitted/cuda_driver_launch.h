#include <atomic>
#include <mutex>

namespace detail {

// Kernels are in this file as binaries, which the CUDA driver loads and launches.

inline const char* name_of(CUresult error) {
  const char* name = nullptr;
  return cuGetErrorName(error, &name) == CUDA_SUCCESS ? name : "unknown error";
}

inline Status cuda_failure(const char* what, CUresult error) {
  const char* text = nullptr;
  cuGetErrorString(error, &text);
  return failure(Code::launch_failed, "%s: %s: %s", what, name_of(error), text != nullptr ? text : "");
}

struct CurrentDevice {
  Status status;
  int ordinal = 0, major = 0, minor = 0, multiprocessors = 0;
};

inline CurrentDevice current_device() {
  CurrentDevice device;
  CUresult error = cuCtxGetDevice(&device.ordinal);
  const auto get = [&](int& value, CUdevice_attribute which) {
    if (error == CUDA_SUCCESS) error = cuDeviceGetAttribute(&value, which, device.ordinal);
  };
  get(device.major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  get(device.minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  get(device.multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  if (error == CUDA_ERROR_INVALID_CONTEXT || error == CUDA_ERROR_NOT_INITIALIZED)
    device.status = failure(Code::launch_failed,
                            "no CUDA context is current in this thread: call cudaSetDevice or "
                            "cuCtxSetCurrent first");
  else if (error != CUDA_SUCCESS)
    device.status = cuda_failure("current device", error);
  return device;
}

inline Status check_compiled() {
  return {};
}

// Loading a kernel is not among the calls that another thread's capture of a stream allows.
class RelaxedCapture {
 public:
  RelaxedCapture() { cuThreadExchangeStreamCaptureMode(&mode_); }
  ~RelaxedCapture() { cuThreadExchangeStreamCaptureMode(&mode_); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  CUstreamCaptureMode mode_ = CU_STREAM_CAPTURE_MODE_RELAXED;
};

// A kernel of a cubin; found when it is first launched.
struct Kernel {
  const char* symbol;
  CUkernel handle = nullptr;
  std::atomic<std::uint64_t> ready{0};  // a bit for each device where it may be launched
};

// Loaded by the first launch of one of its kernels, for all contexts, and kept.
struct Cubin {
  const unsigned long long* words;
  std::mutex loading = {};  // held while anything but Kernel::ready is read or written
  CUlibrary library = nullptr;
};

struct Variant {
  const char* configuration;
  LaunchPlan (*plan)(const BackwardArgs&);
  Cubin* cubin;
  Kernel* kernels;  // Launch::kernel
};

// From the description of a compiled configuration that the tables below have.
template <typename Compiled>
constexpr Variant variant() {
  return {Compiled::text, Compiled::plan, &Compiled::cubin, Compiled::kernels};
}

inline Status load(Cubin& cubin, Kernel& kernel) {
  CUresult error = CUDA_SUCCESS;
  if (cubin.library == nullptr)
    error = cuLibraryLoadData(&cubin.library, cubin.words, nullptr, nullptr, 0, nullptr, nullptr, 0);
  if (error != CUDA_SUCCESS) {
    cubin.library = nullptr;
    return failure(
        Code::launch_failed,
        "the CUDA driver refuses kernels that %s compiled: %s; update it, or emit with an older NVRTC",
        kCubinCompiler, name_of(error));
  }
  if (kernel.handle == nullptr) error = cuLibraryGetKernel(&kernel.handle, cubin.library, kernel.symbol);
  return error == CUDA_SUCCESS ? Status{} : cuda_failure(kernel.symbol, error);
}

// Lets a kernel use all the shared memory of a device, and the cluster that it was compiled for, of which
// more than 8 blocks must be asked for.
inline CUresult allow_resources(CUkernel kernel, CUdevice device) {
  int shared = 0, limit = 0, width = 0, height = 0;  // of the cluster; 0 where there is none
  CUresult error = cuKernelGetAttribute(&shared, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, kernel, device);
  if (error == CUDA_SUCCESS)
    error = cuDeviceGetAttribute(&limit, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device);
  if (error == CUDA_SUCCESS)
    error =
        cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, limit - shared, kernel, device);
  if (error == CUDA_SUCCESS)
    error = cuKernelGetAttribute(&width, CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH, kernel, device);
  if (error == CUDA_SUCCESS)
    error = cuKernelGetAttribute(&height, CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT, kernel, device);
  if (error == CUDA_SUCCESS && width * height > 8)
    error = cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1, kernel, device);
  return error;
}

// Once for each kernel and device.
inline Status make_ready(Cubin& cubin, Kernel& kernel, CUdevice device) {
  const std::uint64_t bit = device < 64 ? std::uint64_t{1} << device : 0;
  if ((kernel.ready.load(std::memory_order_acquire) & bit) != 0) return {};
  const std::lock_guard<std::mutex> lock(cubin.loading);
  const RelaxedCapture relaxed;
  const Status status = load(cubin, kernel);
  if (!status.ok()) return status;
  const CUresult error = allow_resources(kernel.handle, device);
  if (error != CUDA_SUCCESS) return cuda_failure("shared memory and clusters", error);
  kernel.ready.fetch_or(bit, std::memory_order_release);
  return {};
}

inline decltype(&cuTensorMapEncodeTiled) tensor_map_encoder() {
  return &cuTensorMapEncodeTiled;
}

inline Status set_bytes(const fcsa::kernels::Fill& fill, CUstream stream) {
  const CUresult error = cuMemsetD2D8Async(
      reinterpret_cast<CUdeviceptr>(fill.to), static_cast<std::size_t>(fill.pitch), fill.value,
      static_cast<std::size_t>(fill.width), static_cast<std::size_t>(fill.rows), stream);
  return error == CUDA_SUCCESS ? Status{} : cuda_failure("fill", error);
}

struct Destination {
  const CurrentDevice& device;
  CUstream stream;
};

inline Status launch_step(const Variant& variant, const fcsa::kernels::Launch& step, void** parameters,
                          const Destination& to) {
  Kernel& kernel = variant.kernels[step.kernel];
  const Status status = make_ready(*variant.cubin, kernel, to.device.ordinal);
  if (!status.ok()) return status;
  const auto function = reinterpret_cast<CUfunction>(kernel.handle);
  const unsigned grid_x = grid_x_on(step, to.device.multiprocessors);
  const CUresult error =
      step.cooperative ? cuLaunchCooperativeKernel(function, grid_x, step.grid_y, step.grid_z, step.threads,
                                                   1, 1, step.smem_bytes, to.stream, parameters)
                       : cuLaunchKernel(function, grid_x, step.grid_y, step.grid_z, step.threads, 1, 1,
                                        step.smem_bytes, to.stream, parameters, nullptr);
  return error == CUDA_SUCCESS ? Status{} : cuda_failure("launch", error);
}

}  // namespace detail
