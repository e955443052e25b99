// Attention on a GPU with a tuned header, here for sm_90 (the header's first lines say how to compile it):
//   fcsa emit --db tuning.db --out include
//   nvcc -std=c++20 -O2 -gencode arch=compute_90a,code=sm_90a -I include cuda_attention.cu -o cuda_attention
//   ./cuda_attention [length ...]
// For another GPU add -DFCSA_HEADER='"fcsa_tuned_sm_80.cuh"' -DFCSA_NAMESPACE=fcsa_tuned::sm_80.
// With the binaries inside, `fcsa emit --cubin`, no nvcc is needed:
//   g++ -std=c++20 -O2 -x c++ -DFCSA_HEADER='"fcsa_tuned_sm_90.h"' -DFCSA_NAMESPACE=fcsa_tuned::sm_90 -I
//   include
//     -I /usr/local/cuda/include cuda_attention.cu -L /usr/local/cuda/lib64 -lcudart -lcuda -o cuda_attention
// Runs forward and, where the header has one, backward at the lengths given, tuned or not, compares with
// double precision and prints error and time.
#include <cuda_runtime.h>

#include <cstdio>
#include <deque>

#include "check.h"

#ifndef FCSA_HEADER
#define FCSA_HEADER "fcsa_tuned_sm_90.cuh"
#define FCSA_NAMESPACE fcsa_tuned::sm_90
#endif
#include FCSA_HEADER

namespace {

namespace tuned = FCSA_NAMESPACE;

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
  DeviceBuffer(const void* host, std::size_t bytes) : DeviceBuffer(bytes) {
    require(cudaMemcpy(data, host, bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  ~DeviceBuffer() { cudaFree(data); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  void copy_to(void* host) const {
    require(cudaMemcpy(host, data, bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
  }
  std::size_t bytes;
  void* data = nullptr;
};

// Time of one launch in ms, the mean of several; negative when it failed.
double time_launches(const tuned::Attention& attention, tuned::Op op, cudaStream_t stream) {
  const DeviceBuffer workspace(tuned::workspace_bytes(attention, op));
  cudaEvent_t start, stop;
  require(cudaEventCreate(&start), "cudaEventCreate");
  require(cudaEventCreate(&stop), "cudaEventCreate");
  constexpr int kLaunches = 20;
  for (int i = -3; i < kLaunches; ++i) {
    if (i == 0) require(cudaEventRecord(start, stream), "cudaEventRecord");
    const tuned::Status status = op == tuned::Op::forward
                                     ? tuned::forward(attention, workspace.data, stream)
                                     : tuned::backward(attention, workspace.data, stream);
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", status.text);
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

// Tensors are copied to the device, and the outputs back.
double run(const tuned::Attention& on_host, tuned::Op op, cudaStream_t stream) {
  tuned::Attention a = on_host;
  std::deque<DeviceBuffer> buffers;
  const auto copied = [&](const auto* host, std::size_t count, std::size_t element_bytes) {
    return host ? buffers.emplace_back(host, count * element_bytes).data : nullptr;
  };
  const std::size_t element = check::element_bytes(static_cast<int>(a.dtype)),
                    rows = static_cast<std::size_t>(a.batch) * a.heads * a.nq,
                    keys = static_cast<std::size_t>(a.batch) * a.kv_heads * a.nk;
  a.q = copied(a.q, rows * a.head_dim, element);
  a.k = copied(a.k, keys * a.head_dim, element);
  a.v = copied(a.v, keys * a.head_dim, element);
  a.key_mask = static_cast<unsigned char*>(copied(a.key_mask, static_cast<std::size_t>(a.batch) * a.nk, 1));
  a.head_scale = static_cast<float*>(copied(a.head_scale, a.heads, 4));
  a.bias = copied(a.bias, static_cast<std::size_t>(a.bias_batch) * a.heads * a.nq * a.nk,
                  check::element_bytes(static_cast<int>(a.bias_dtype)));
  a.dout = copied(a.dout, rows * a.head_dim, element);
  const DeviceBuffer o(on_host.o, rows * a.head_dim * element), lse(on_host.lse, rows * 4);
  const DeviceBuffer dq(o.bytes), dk(keys * a.head_dim * element), dv(dk.bytes);
  a.o = o.data, a.dq = dq.data, a.dk = dk.data, a.dv = dv.data;
  a.lse = static_cast<float*>(lse.data);
  const double ms = time_launches(a, op, stream);
  if (ms < 0) return ms;
  o.copy_to(on_host.o);
  lse.copy_to(on_host.lse);
  if (op == tuned::Op::forward) return ms;
  dq.copy_to(on_host.dq);
  dk.copy_to(on_host.dk);
  dv.copy_to(on_host.dv);
  return ms;
}

}  // namespace

int main(int argc, char** argv) {
  cudaStream_t stream;
  require(cudaStreamCreate(&stream), "cudaStreamCreate");
  const int status = check::check_all<tuned::Attention, tuned::Op>(
      argc, argv, [&](const tuned::Attention& a, tuned::Op op) { return run(a, op, stream); });
  require(cudaStreamDestroy(stream), "cudaStreamDestroy");
  return status;
}
