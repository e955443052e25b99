#include "runner/cuda/driver.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <vector>

#include "runner/device/device.h"

namespace fcsa::runner::cuda {
namespace {

constexpr int kOldestDriver = 12000;

// Not in the headers of CUDA 12.4.
constexpr int kContained = 226;
constexpr int kTensorMemoryLeak = 721;

// Containers and WSL keep the library in folders that the loader may not know.
std::vector<std::string> library_names() {
  if (const char* override_path = std::getenv("FCSA_LIBCUDA");
      override_path != nullptr && *override_path != '\0') {
    std::error_code ignored;
    const std::filesystem::path path = override_path;
    return {std::filesystem::is_directory(path, ignored) ? (path / "libcuda.so.1").string() : path.string()};
  }
  return {"libcuda.so.1", "/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/usr/local/nvidia/lib64/libcuda.so.1",
          "/usr/lib/wsl/lib/libcuda.so.1"};
}

DynamicLibrary open_driver() {
  try {
    return DynamicLibrary::open_first(library_names());
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format(
        "libcuda.so.1 not found: install the NVIDIA driver (in a container, start it with the GPU "
        "visible), or set FCSA_LIBCUDA to the file; {}",
        error.what()));
  }
}

int version_of(const DynamicLibrary& library) {
  const auto get_version =
      reinterpret_cast<decltype(&::cuDriverGetVersion)>(library.get("cuDriverGetVersion"));
  int version = 0;
  return get_version(&version) == CUDA_SUCCESS ? version : 0;
}

}  // namespace

int installed_driver_version() {
  try {
    return version_of(open_driver());
  } catch (const std::runtime_error&) {
    return 0;
  }
}

bool is_sticky(CUresult result) {
  switch (static_cast<int>(result)) {
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_MPS_CLIENT_TERMINATED:
    case CUDA_ERROR_EXTERNAL_DEVICE:
    case CUDA_ERROR_UNKNOWN:
    case kContained:
    case kTensorMemoryLeak:
      return true;
    default:
      return false;
  }
}

Driver::Driver()
    : library_(open_driver()), path_(library_.path_of("cuInit")), version_(version_of(library_)) {
  if (version_ < kOldestDriver) {
    throw std::runtime_error(
        fmt::format("the NVIDIA driver ({}) supports CUDA {}.{}: install one that supports CUDA "
                    "12.0 or newer (525 or newer)",
                    path_, version_ / 1000, version_ % 1000 / 10));
  }
  get_proc_address_ = reinterpret_cast<decltype(&::cuGetProcAddress)>(library_.find("cuGetProcAddress_v2"));
  load_device_functions();
  load_stream_functions();
  load_kernel_and_memory_functions();
  if (const CUresult result = init(0); result != CUDA_SUCCESS) {
    const char* name = nullptr;
    const char* text = nullptr;
    get_error_name(result, &name);
    get_error_string(result, &text);
    throw std::runtime_error(
        fmt::format("cuInit: {} ({}): the driver {} finds no usable GPU; check nvidia-smi and "
                    "CUDA_VISIBLE_DEVICES",
                    name != nullptr ? name : "unknown error", text != nullptr ? text : "", path_));
  }
}

template <typename Function>
void Driver::load(Function& function, const char* name) const {
  void* address = nullptr;
  if (get_proc_address_ != nullptr) {
    CUdriverProcAddressQueryResult found{};
    const auto result =
        get_proc_address_(name, &address, kOldestDriver, CU_GET_PROC_ADDRESS_LEGACY_STREAM, &found);
    if (result != CUDA_SUCCESS) address = nullptr;
  }
  if (address == nullptr) {
    const std::string versioned = std::string(name) + "_v2";
    address = library_.find(versioned);
  }
  if (address == nullptr) address = library_.get(name);
  function = reinterpret_cast<Function>(address);
}

void Driver::load_device_functions() {
  load(init, "cuInit");
  load(get_error_name, "cuGetErrorName");
  load(get_error_string, "cuGetErrorString");
  load(device_get_count, "cuDeviceGetCount");
  load(device_get, "cuDeviceGet");
  load(device_get_name, "cuDeviceGetName");
  load(device_get_uuid, "cuDeviceGetUuid");
  load(device_get_attribute, "cuDeviceGetAttribute");
  load(device_total_mem, "cuDeviceTotalMem");
  load(primary_ctx_retain, "cuDevicePrimaryCtxRetain");
  load(primary_ctx_release, "cuDevicePrimaryCtxRelease");
  load(ctx_set_current, "cuCtxSetCurrent");
  load(ctx_get_current, "cuCtxGetCurrent");
  load(ctx_get_device, "cuCtxGetDevice");
  load(ctx_get_id, "cuCtxGetId");
  load(ctx_push_current, "cuCtxPushCurrent");
  load(ctx_pop_current, "cuCtxPopCurrent");
}

void Driver::load_stream_functions() {
  load(stream_create, "cuStreamCreate");
  load(stream_destroy, "cuStreamDestroy");
  load(stream_synchronize, "cuStreamSynchronize");
  load(stream_is_capturing, "cuStreamIsCapturing");
  load(thread_exchange_stream_capture_mode, "cuThreadExchangeStreamCaptureMode");
  load(event_create, "cuEventCreate");
  load(event_destroy, "cuEventDestroy");
  load(event_record, "cuEventRecord");
  load(event_synchronize, "cuEventSynchronize");
  load(event_elapsed_time, "cuEventElapsedTime");
}

void Driver::load_kernel_and_memory_functions() {
  load(module_load_data, "cuModuleLoadData");
  load(module_unload, "cuModuleUnload");
  load(module_get_function, "cuModuleGetFunction");
  load(func_get_attribute, "cuFuncGetAttribute");
  load(func_set_attribute, "cuFuncSetAttribute");
  load(launch_kernel, "cuLaunchKernel");
  load(launch_cooperative_kernel, "cuLaunchCooperativeKernel");
  load(mem_alloc, "cuMemAlloc");
  load(mem_free, "cuMemFree");
  load(mem_get_info, "cuMemGetInfo");
  load(memcpy_htod_async, "cuMemcpyHtoDAsync");
  load(memcpy_dtoh_async, "cuMemcpyDtoHAsync");
  load(memset_d8_async, "cuMemsetD8Async");
  load(memset_d2d8_async, "cuMemsetD2D8Async");
  load(tensor_map_encode_tiled, "cuTensorMapEncodeTiled");
}

void Driver::check(CUresult result, const char* call) const {
  if (result == CUDA_SUCCESS) return;
  const char* name = nullptr;
  const char* text = nullptr;
  get_error_name(result, &name);
  get_error_string(result, &text);
  throw DeviceError(
      fmt::format("{}: {} ({})", call, name != nullptr ? name : fmt::format("error {}", int(result)),
                  text != nullptr ? text : "no description"),
      is_sticky(result));
}

int Driver::attribute(CUdevice device, CUdevice_attribute which) const {
  int value = 0;
  check(device_get_attribute(&value, which, device), "cuDeviceGetAttribute");
  return value;
}

}  // namespace fcsa::runner::cuda
