// Attention on a GPU with a tuned header, here for sm_90 (the header's first lines say how to compile it):
//   fcsa emit --db tuning.db --out include
//   nvcc -std=c++20 -O2 -gencode arch=compute_90a,code=sm_90a -I include cuda_attention.cu -o cuda_attention
//   ./cuda_attention [length ...]
// For another GPU add -DFCSA_HEADER='"fcsa_tuned_sm_80.cuh"' -DFCSA_NAMESPACE=fcsa_tuned::sm_80.
// Runs at the lengths given, tuned or not, compares with double precision and prints error and time.
#include <cuda_runtime.h>

#include <cstdio>

#include "check.h"

#ifndef FCSA_HEADER
#define FCSA_HEADER "fcsa_tuned_sm_90.cuh"
#define FCSA_NAMESPACE fcsa_tuned::sm_90
#endif
#include FCSA_HEADER

namespace fcsa_tuned_here = FCSA_NAMESPACE;

namespace {

using fcsa_tuned_here::Attention;
using fcsa_tuned_here::DType;
using fcsa_tuned_here::Layout;

void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

// Device memory, freed on destruction.
struct DeviceBuffer {
  explicit DeviceBuffer(std::size_t bytes) : bytes(bytes) {
    if (bytes > 0) require(cudaMalloc(&data, bytes), "cudaMalloc");
  }
  explicit DeviceBuffer(const std::vector<unsigned char>& host) : DeviceBuffer(host.size()) {
    require(cudaMemcpy(data, host.data(), bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  ~DeviceBuffer() { cudaFree(data); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  std::vector<unsigned char> host() const {
    std::vector<unsigned char> copy(bytes);
    require(cudaMemcpy(copy.data(), data, bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
    return copy;
  }
  std::size_t bytes;
  void* data = nullptr;
};

// Time of one launch in ms, the mean of several; negative when it failed.
double run(const Attention& attention, cudaStream_t stream) {
  const DeviceBuffer workspace(fcsa_tuned_here::workspace_bytes(attention));
  cudaEvent_t start, stop;
  require(cudaEventCreate(&start), "cudaEventCreate");
  require(cudaEventCreate(&stop), "cudaEventCreate");
  constexpr int kLaunches = 20;
  for (int i = -3; i < kLaunches; ++i) {
    if (i == 0) require(cudaEventRecord(start, stream), "cudaEventRecord");
    const fcsa_tuned_here::Status status = fcsa_tuned_here::forward(attention, workspace.data, stream);
    if (!status.ok()) {
      std::fprintf(stderr, "forward: %s\n", status.text);
      return -1;
    }
  }
  require(cudaEventRecord(stop, stream), "cudaEventRecord");
  require(cudaStreamSynchronize(stream), "the kernels");
  float ms = 0;
  require(cudaEventElapsedTime(&ms, start, stop), "cudaEventElapsedTime");
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  return ms / kLaunches;
}

// Makes tensors for the sizes in `a`, runs, checks. A header without kernels for the problem isn't a failure.
bool run_and_check(Attention a, bool masked, cudaStream_t stream) {
  const int dtype = static_cast<int>(a.dtype);
  const std::size_t rows = static_cast<std::size_t>(a.batch) * a.heads * a.nq;
  const std::size_t keys = static_cast<std::size_t>(a.batch) * a.kv_heads * a.nk;
  const auto q = check::random_tensor(dtype, rows * a.head_dim, 1),
             k = check::random_tensor(dtype, keys * a.head_dim, 2),
             v = check::random_tensor(dtype, keys * a.head_dim, 3);
  const auto mask = check::random_mask(static_cast<std::size_t>(a.batch) * a.nk, 4);
  const DeviceBuffer device_q(q), device_k(k), device_v(v), device_mask(mask), device_o(q.size()),
      device_lse(rows * 4);
  a.q = device_q.data;
  a.k = device_k.data;
  a.v = device_v.data;
  a.o = device_o.data;
  a.lse = static_cast<float*>(device_lse.data);
  if (masked) a.key_mask = static_cast<const unsigned char*>(device_mask.data);

  const fcsa_tuned_here::Selection selection = fcsa_tuned_here::describe(a);
  if (selection.status.code == fcsa_tuned_here::Code::unsupported) return true;
  const double ms = run(a, stream);
  if (ms < 0) return false;

  auto o = device_o.host(), lse = device_lse.host();
  Attention on_host = a;
  on_host.q = q.data();
  on_host.k = k.data();
  on_host.v = v.data();
  on_host.o = o.data();
  on_host.lse = reinterpret_cast<float*>(lse.data());
  if (masked) on_host.key_mask = mask.data();
  const double error = check::worst_error(on_host, 64);
  const bool right = error <= check::tolerance(dtype);
  std::printf("%-4s d%-3d h%d/%d %5d x %-5d%s%s%s  %9.3f ms  %7.2f TFLOP/s  error %.1e  %s  %s\n",
              dtype == 0   ? "f32"
              : dtype == 1 ? "bf16"
                           : "f16",
              a.head_dim, a.heads, a.kv_heads, a.nq, a.nk, a.causal ? " causal" : "", masked ? " masked" : "",
              a.layout == Layout::bnhd ? " bnhd" : "", ms, check::flops(a) / ms * 1e-9, error,
              right ? "ok" : "WRONG", selection.configuration);
  return right;
}

bool run_length(DType dtype, int head_dim, int length, cudaStream_t stream) {
  Attention a;
  a.dtype = dtype;
  a.head_dim = head_dim;
  a.batch = 2;
  a.heads = a.kv_heads = 8;
  a.nq = a.nk = length;
  bool right = run_and_check(a, false, stream);
  a.causal = true;
  right = run_and_check(a, false, stream) && right;
  // Four query heads for each key/value head, more keys than queries, axes as most frameworks have them.
  a.kv_heads = 2;
  a.nq = length / 2 + 1;
  a.layout = Layout::bnhd;
  right = run_and_check(a, false, stream) && right;
  a.causal = false;
  return run_and_check(a, true, stream) && right;
}

}  // namespace

int main(int argc, char** argv) {
  cudaStream_t stream;
  require(cudaStreamCreate(&stream), "cudaStreamCreate");
  bool right = true;
  for (const int length : check::lengths_from(argc, argv))
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
      for (const int head_dim : {16, 32, 64, 80, 96, 128})
        right = run_length(dtype, head_dim, length, stream) && right;
  require(cudaStreamDestroy(stream), "cudaStreamDestroy");
  return right ? 0 : 1;
}
