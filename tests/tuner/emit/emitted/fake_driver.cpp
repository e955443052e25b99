// The functions of the CUDA driver that a program with binaries in an emitted header calls.
#include <elf.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>

#include "fake_gpu.h"

namespace {

constexpr int kCudaMachine = 190;  // e_machine of a cubin

struct Library {
  const unsigned char* bytes;
  std::size_t size;
};

struct Function {
  std::string name;
  int largest_smem = 48 << 10;
};

std::vector<std::unique_ptr<Function>>& functions() {
  static std::vector<std::unique_ptr<Function>> list;
  return list;
}

bool contains(const Library& library, const std::string& name) {
  const unsigned char* end = library.bytes + library.size;
  return std::search(library.bytes, end, name.c_str(), name.c_str() + name.size() + 1) != end;
}

template <typename Handle>
Function& function_of(Handle handle) {
  return *reinterpret_cast<Function*>(handle);
}

}  // namespace

FakeGpu& fake_gpu() {
  static FakeGpu gpu;
  return gpu;
}

extern "C" {

CUresult cuGetErrorName(CUresult error, const char** text) {
  *text = error == CUDA_ERROR_INVALID_IMAGE ? "CUDA_ERROR_INVALID_IMAGE" : "CUDA_ERROR_FAKE";
  return CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult, const char** text) {
  *text = "a made-up error";
  return CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice* device) {
  *device = fake_gpu().device;
  return fake_gpu().has_context ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}
CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute which, CUdevice) {
  *value = fake_attribute(which);
  return CUDA_SUCCESS;
}
CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  const bool was_relaxed = fake_gpu().relaxed;
  fake_gpu().relaxed = *mode == CU_STREAM_CAPTURE_MODE_RELAXED;
  *mode = was_relaxed ? CU_STREAM_CAPTURE_MODE_RELAXED : CU_STREAM_CAPTURE_MODE_GLOBAL;
  return CUDA_SUCCESS;
}
CUresult cuLibraryLoadData(CUlibrary* library, const void* code, CUjit_option*, void**, unsigned,
                           CUlibraryOption*, void**, unsigned) {
  ++fake_gpu().loads;
  fake_gpu().strict_loads += !fake_gpu().relaxed;
  if (fake_gpu().load_result != CUDA_SUCCESS) return fake_gpu().load_result;
  Elf64_Ehdr header;
  std::memcpy(&header, code, sizeof(header));
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_machine != kCudaMachine)
    return CUDA_ERROR_INVALID_IMAGE;
  // A program loads few, and they stay.
  *library = reinterpret_cast<CUlibrary>(
      new Library{static_cast<const unsigned char*>(code),
                  static_cast<std::size_t>(header.e_shoff) + header.e_shnum * header.e_shentsize});
  return CUDA_SUCCESS;
}
CUresult cuLibraryGetKernel(CUkernel* kernel, CUlibrary library, const char* name) {
  if (!contains(*reinterpret_cast<Library*>(library), name)) return CUDA_ERROR_NOT_FOUND;
  functions().push_back(std::make_unique<Function>(Function{name}));
  *kernel = reinterpret_cast<CUkernel>(functions().back().get());
  return CUDA_SUCCESS;
}
CUresult cuKernelGetAttribute(int* value, CUfunction_attribute which, CUkernel, CUdevice) {
  *value = which == CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH    ? fake_gpu().cluster_width
           : which == CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT ? fake_gpu().cluster_height
                                                                : 0;
  return CUDA_SUCCESS;
}
CUresult cuKernelSetAttribute(CUfunction_attribute which, int value, CUkernel kernel, CUdevice) {
  if (which == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) function_of(kernel).largest_smem = value;
  fake_gpu().large_clusters_allowed += which == CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED;
  return CUDA_SUCCESS;
}
CUresult cuTensorMapEncodeTiled(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                const cuuint64_t*, const cuuint32_t*, const cuuint32_t*,
                                CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                                CUtensorMapFloatOOBfill) {
  ++fake_gpu().maps_encoded;
  return CUDA_SUCCESS;
}
CUresult cuMemsetD2D8Async(CUdeviceptr to, size_t pitch, unsigned char value, size_t width, size_t height,
                           CUstream) {
  for (size_t row = 0; row < height; ++row)
    std::memset(reinterpret_cast<char*>(to) + row * pitch, value, width);
  return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned smem_bytes,
                        CUstream stream, void**, void**) {
  const Function& function = function_of(kernel);
  if (static_cast<int>(smem_bytes) > function.largest_smem) return CUDA_ERROR_INVALID_VALUE;
  fake_gpu().launches.push_back(
      {function.name, grid_x, grid_y, grid_z, block_x * block_y * block_z, smem_bytes, stream});
  return CUDA_SUCCESS;
}
CUresult cuLaunchCooperativeKernel(CUfunction kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                   unsigned block_x, unsigned block_y, unsigned block_z, unsigned smem_bytes,
                                   CUstream stream, void** parameters) {
  const CUresult result = cuLaunchKernel(kernel, grid_x, grid_y, grid_z, block_x, block_y, block_z,
                                         smem_bytes, stream, parameters, nullptr);
  if (result == CUDA_SUCCESS) fake_gpu().launches.back().cooperative = true;
  return result;
}
}
