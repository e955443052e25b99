// The functions of the CUDA runtime that a program with an emitted header calls.
#include <cuda_runtime_api.h>
#include <cstring>

#include <map>

#include "fake_gpu.h"

namespace {

std::map<const void*, std::string>& names() {
  static std::map<const void*, std::string> by_stub;
  return by_stub;
}

CUresult encode(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*,
                const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  ++fake_gpu().maps_encoded;
  return CUDA_SUCCESS;
}

}  // namespace

FakeGpu& fake_gpu() {
  static FakeGpu gpu;
  return gpu;
}

extern "C" {

// Called by what nvcc generates, before main().
void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char* stub, char*, const char* name, int, uint3*, uint3*, dim3*,
                            dim3*, int*) {
  names()[stub] = name;
}
void __cudaRegisterVar(void**, char*, char*, const char*, int, std::size_t, int, int) {}
char __cudaInitModule(void**) {
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3*, dim3*, std::size_t*, void*) {
  return cudaErrorUnknown;
}
cudaError_t __cudaGetKernel(cudaKernel_t*, const void*) {
  return cudaErrorUnknown;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3, dim3, void**, std::size_t, cudaStream_t) {
  return cudaErrorUnknown;
}

cudaError_t cudaMemset2DAsync(void* to, size_t pitch, int value, size_t width, size_t height, cudaStream_t) {
  for (size_t row = 0; row < height; ++row) std::memset(static_cast<char*>(to) + row * pitch, value, width);
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = fake_gpu().device;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int) {
  *value = fake_attribute(which);
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  *attributes = {};
  attributes->requiredClusterWidth = fake_gpu().cluster_width;
  attributes->requiredClusterHeight = fake_gpu().cluster_height;
  return names().count(kernel) ? cudaSuccess : cudaErrorInvalidDeviceFunction;
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute which, int) {
  fake_gpu().large_clusters_allowed += which == cudaFuncAttributeNonPortableClusterSizeAllowed;
  return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) {
  return cudaSuccess;
}
cudaError_t cudaGetDriverEntryPointByVersion(const char*, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* found) {
  *function = reinterpret_cast<void*>(&encode);
  *found = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}
cudaError_t cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block, void**, std::size_t smem_bytes,
                             cudaStream_t stream) {
  fake_gpu().launches.push_back(
      {names().at(kernel), grid.x, grid.y, grid.z, block.x * block.y * block.z, smem_bytes, stream});
  return cudaSuccess;
}
cudaError_t cudaLaunchCooperativeKernel(const void* kernel, dim3 grid, dim3 block, void** parameters,
                                        std::size_t smem_bytes, cudaStream_t stream) {
  const cudaError_t result = cudaLaunchKernel(kernel, grid, block, parameters, smem_bytes, stream);
  fake_gpu().launches.back().cooperative = true;
  return result;
}
const char* cudaGetErrorName(cudaError_t) {
  return "cudaErrorFake";
}
const char* cudaGetErrorString(cudaError_t) {
  return "a made-up error";
}
}
