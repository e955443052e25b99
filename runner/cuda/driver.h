// The CUDA driver, loaded at run time.
#pragma once

#include <cuda.h>

#include <string>

#include "runner/process/dynamic_library.h"

namespace fcsa::runner::cuda {

// The functions of libcuda that are used, under the names they have there without the prefix. All exist since
// CUDA 12.0, so an older driver is refused. Construction loads the library and runs cuInit; it throws
// std::runtime_error that says what is missing, where it was looked for and how to get it.
class Driver {
 public:
  Driver();

  int version() const { return version_; }  // 1000 * major + 10 * minor of the newest CUDA it supports
  const std::string& path() const { return path_; }

  // Throws DeviceError with the call, the error's name and its text, sticky for errors that poison the
  // context.
  void check(CUresult result, const char* call) const;
  int attribute(CUdevice device, CUdevice_attribute which) const;

  decltype(&::cuInit) init = nullptr;
  decltype(&::cuGetErrorName) get_error_name = nullptr;
  decltype(&::cuGetErrorString) get_error_string = nullptr;
  decltype(&::cuDeviceGetCount) device_get_count = nullptr;
  decltype(&::cuDeviceGet) device_get = nullptr;
  decltype(&::cuDeviceGetName) device_get_name = nullptr;
  decltype(&::cuDeviceGetUuid) device_get_uuid = nullptr;
  decltype(&::cuDeviceGetAttribute) device_get_attribute = nullptr;
  decltype(&::cuDeviceTotalMem) device_total_mem = nullptr;
  decltype(&::cuDevicePrimaryCtxRetain) primary_ctx_retain = nullptr;
  decltype(&::cuDevicePrimaryCtxRelease) primary_ctx_release = nullptr;
  decltype(&::cuCtxSetCurrent) ctx_set_current = nullptr;
  decltype(&::cuCtxGetCurrent) ctx_get_current = nullptr;
  decltype(&::cuCtxGetDevice) ctx_get_device = nullptr;
  decltype(&::cuCtxGetId) ctx_get_id = nullptr;
  decltype(&::cuCtxPushCurrent) ctx_push_current = nullptr;
  decltype(&::cuCtxPopCurrent) ctx_pop_current = nullptr;
  decltype(&::cuStreamCreate) stream_create = nullptr;
  decltype(&::cuStreamDestroy) stream_destroy = nullptr;
  decltype(&::cuStreamSynchronize) stream_synchronize = nullptr;
  decltype(&::cuStreamIsCapturing) stream_is_capturing = nullptr;
  decltype(&::cuThreadExchangeStreamCaptureMode) thread_exchange_stream_capture_mode = nullptr;
  decltype(&::cuEventCreate) event_create = nullptr;
  decltype(&::cuEventDestroy) event_destroy = nullptr;
  decltype(&::cuEventRecord) event_record = nullptr;
  decltype(&::cuEventSynchronize) event_synchronize = nullptr;
  decltype(&::cuEventElapsedTime) event_elapsed_time = nullptr;
  decltype(&::cuModuleLoadData) module_load_data = nullptr;
  decltype(&::cuModuleUnload) module_unload = nullptr;
  decltype(&::cuModuleGetFunction) module_get_function = nullptr;
  decltype(&::cuFuncGetAttribute) func_get_attribute = nullptr;
  decltype(&::cuFuncSetAttribute) func_set_attribute = nullptr;
  decltype(&::cuLaunchKernel) launch_kernel = nullptr;
  decltype(&::cuLaunchCooperativeKernel) launch_cooperative_kernel = nullptr;
  decltype(&::cuMemAlloc) mem_alloc = nullptr;
  decltype(&::cuMemFree) mem_free = nullptr;
  decltype(&::cuMemGetInfo) mem_get_info = nullptr;
  decltype(&::cuMemcpyHtoDAsync) memcpy_htod_async = nullptr;
  decltype(&::cuMemcpyDtoHAsync) memcpy_dtoh_async = nullptr;
  decltype(&::cuMemsetD8Async) memset_d8_async = nullptr;
  decltype(&::cuMemsetD2D8Async) memset_d2d8_async = nullptr;
  decltype(&::cuTensorMapEncodeTiled) tensor_map_encode_tiled = nullptr;

 private:
  void load_device_functions();
  void load_stream_functions();
  void load_kernel_and_memory_functions();
  template <typename Function>
  void load(Function& function, const char* name) const;

  DynamicLibrary library_;
  decltype(&::cuGetProcAddress) get_proc_address_ = nullptr;
  std::string path_;
  int version_ = 0;
};

// CUDA version that the installed driver supports (12040 for 12.4), without initialising a GPU; 0 when there
// is no driver.
int installed_driver_version();

// Errors after which every further call in the process fails.
bool is_sticky(CUresult result);

}  // namespace fcsa::runner::cuda
