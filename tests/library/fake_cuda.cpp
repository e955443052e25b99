#include "tests/library/fake_cuda.h"

#include <dlfcn.h>

#include <cstring>
#include <deque>
#include <mutex>
#include <set>
#include <string>
#include <utility>

namespace {

struct Context {
  int device;
  unsigned long long id;
};

// Of a module, which is the context that it was loaded into.
struct Function {
  CUcontext context;
  bool writes_mask;
};

std::mutex mutex;
std::deque<Function> functions;
Context contexts[] = {{0, 1}, {0, 2}, {1, 3}};
unsigned long long newest_id = 3;
std::set<CUstream> captured;
std::vector<fake_cuda::Launch> launched;
int modules = 0, unsafe_modules = 0;

thread_local std::vector<Context*> stack;
thread_local CUstreamCaptureMode capture_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

Context* top() {
  return stack.empty() ? nullptr : stack.back();
}

CUcontext handle(Context* context) {
  return reinterpret_cast<CUcontext>(context);
}

Context* object(CUcontext context) {
  return reinterpret_cast<Context*>(context);
}

// Of the properties of an H100 those that kernels are chosen by.
int attribute_of(CUdevice_attribute attribute) {
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      return 9;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      return 0;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      return 132;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      return 227 * 1024;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
      return 50 << 20;
    default:
      return 0;
  }
}

}  // namespace

namespace fake_cuda {

CUcontext context(int index) {
  return handle(&contexts[index]);
}

void make_current(CUcontext context) {
  stack.clear();
  if (context != nullptr) stack.push_back(object(context));
}

CUcontext current() {
  return handle(top());
}

void reset(CUcontext context) {
  object(context)->id = ++newest_id;
}

void capture(CUstream stream) {
  captured.insert(stream);
}

void end_captures() {
  captured.clear();
}

const std::vector<Launch>& launches() {
  return launched;
}

void forget_launches() {
  launched.clear();
}

int modules_loaded() {
  return modules;
}

int modules_loaded_unsafely() {
  return unsafe_modules;
}

}  // namespace fake_cuda

// The driver's functions that libfcsa calls. Others would allocate or wait: it finds them, and must not call
// them.
extern "C" {

CUresult cuInit(unsigned) {
  return CUDA_SUCCESS;
}
CUresult cuDriverGetVersion(int* version) {
  *version = 13000;
  return CUDA_SUCCESS;
}
CUresult cuGetErrorName(CUresult, const char** name) {
  *name = "CUDA_ERROR_OF_A_TEST";
  return CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult, const char** text) {
  *text = "an error that a test asked for";
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetCount(int* count) {
  *count = 2;
  return CUDA_SUCCESS;
}
CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  *device = ordinal;
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetName(char* name, int bytes, CUdevice) {
  std::strncpy(name, "Fake H100", static_cast<std::size_t>(bytes));
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device) {
  std::memset(uuid->bytes, device + 1, sizeof(uuid->bytes));
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice) {
  *value = attribute_of(attribute);
  return CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem(std::size_t* bytes, CUdevice) {
  *bytes = std::size_t{80} << 30;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* context) {
  *context = handle(top());
  return CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice* device) {
  if (top() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  *device = top()->device;
  return CUDA_SUCCESS;
}
CUresult cuCtxGetId(CUcontext context, unsigned long long* id) {
  *id = object(context)->id;
  return CUDA_SUCCESS;
}
CUresult cuCtxPushCurrent(CUcontext context) {
  stack.push_back(object(context));
  return CUDA_SUCCESS;
}
CUresult cuCtxPopCurrent(CUcontext* context) {
  *context = handle(top());
  stack.pop_back();
  return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus* status) {
  *status = captured.count(stream) != 0 ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
  return CUDA_SUCCESS;
}
CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  std::swap(*mode, capture_mode);
  return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule* module, const void*) {
  const std::lock_guard lock(mutex);
  if (top() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (capture_mode != CU_STREAM_CAPTURE_MODE_RELAXED) ++unsafe_modules;
  ++modules;
  *module = reinterpret_cast<CUmodule>(top());
  return CUDA_SUCCESS;
}
CUresult cuModuleUnload(CUmodule) {
  return CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  const std::lock_guard lock(mutex);
  functions.push_back({reinterpret_cast<CUcontext>(module), std::strstr(name, "write_key_mask") != nullptr});
  *function = reinterpret_cast<CUfunction>(&functions.back());
  return CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int* value, CUfunction_attribute, CUfunction) {
  *value = 0;
  return CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) {
  return CUDA_SUCCESS;
}
CUresult cuTensorMapEncodeTiled(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                const cuuint64_t*, const cuuint32_t*, const cuuint32_t*,
                                CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                                CUtensorMapFloatOOBfill) {
  return CUDA_SUCCESS;
}
CUresult cuLaunchKernel(CUfunction function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                        unsigned, CUstream stream, void** parameters, void**) {
  const std::lock_guard lock(mutex);
  const auto& launched_one = *reinterpret_cast<const Function*>(function);
  if (handle(top()) != launched_one.context) return CUDA_ERROR_INVALID_CONTEXT;
  fake_cuda::Launch launch{handle(top()), stream, {}, launched_one.writes_mask};
  if (launch.writes_mask)
    std::memcpy(static_cast<void*>(&launch.lengths), parameters[0], sizeof(launch.lengths));
  else
    std::memcpy(static_cast<void*>(&launch.args), parameters[0], sizeof(launch.args));
  launched.push_back(launch);
  return CUDA_SUCCESS;
}
CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                   unsigned threads_x, unsigned threads_y, unsigned threads_z,
                                   unsigned smem_bytes, CUstream stream, void** parameters) {
  return cuLaunchKernel(function, grid_x, grid_y, grid_z, threads_x, threads_y, threads_z, smem_bytes, stream,
                        parameters, nullptr);
}

CUresult fake_cuda_refuse() {
  return CUDA_ERROR_NOT_SUPPORTED;
}
CUresult cuGetProcAddress_v2(const char* name, void** function, int, cuuint64_t,
                             CUdriverProcAddressQueryResult*) {
  Dl_info here{};
  dladdr(reinterpret_cast<void*>(&fake_cuda_refuse), &here);
  void* library = dlopen(here.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  *function = dlsym(library, (std::string(name) + "_v2").c_str());
  if (*function == nullptr) *function = dlsym(library, name);
  if (*function == nullptr) *function = reinterpret_cast<void*>(&fake_cuda_refuse);
  dlclose(library);
  return CUDA_SUCCESS;
}
}
