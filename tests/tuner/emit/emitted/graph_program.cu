// Compiled by emitted_gpu_test.cpp with an emitted header of either form, and run on the GPU: the first call
// of each pass in a process is captured into a graph, and other calls come from another thread. Exit status 1
// when a result is wrong.
#include <cuda_runtime.h>

#include <thread>

#include "../../../../examples/check.h"
#include "expectations.h"
#include FCSA_HEADER

namespace {

namespace tuned = FCSA_NAMESPACE;

void require(cudaError_t error, const char* what) {
  expect(error == cudaSuccess, std::string(what) + ": " + cudaGetErrorString(error));
}

// Memory of the device that the host sees too.
template <typename T>
T* managed(const T* host, std::size_t bytes) {
  void* data = nullptr;
  require(cudaMallocManaged(&data, bytes), "cudaMallocManaged");
  if (data == nullptr) std::exit(1);
  if (host != nullptr) std::memcpy(data, host, bytes);
  return static_cast<T*>(data);
}

tuned::Attention sizes() {
  tuned::Attention a;
  a.dtype = tuned::DType::bf16;
  a.causal = true;
  a.batch = 2;
  a.heads = a.kv_heads = 8;
  a.nq = a.nk = 777;
  return a;
}

tuned::Attention on_device(const tuned::Attention& host) {
  tuned::Attention a = host;
  const std::size_t bytes = std::size_t{2} * a.batch * a.heads * a.nq * a.head_dim;
  a.q = managed(static_cast<const char*>(host.q), bytes);
  a.k = managed(static_cast<const char*>(host.k), bytes);
  a.v = managed(static_cast<const char*>(host.v), bytes);
  a.o = managed(static_cast<const char*>(nullptr), bytes);
  a.lse = const_cast<float*>(managed(static_cast<const float*>(nullptr), bytes));
  a.dout = managed(static_cast<const char*>(host.dout), bytes);
  for (void** gradient : {&a.dq, &a.dk, &a.dv}) *gradient = managed<char>(nullptr, bytes);
  return a;
}

tuned::Status call(const tuned::Attention& a, tuned::Op op, void* workspace, cudaStream_t stream) {
  return op == tuned::Op::forward ? tuned::forward(a, workspace, stream)
                                  : tuned::backward(a, workspace, stream);
}

// And nothing is left for the next call.
void expect_right(const tuned::Attention& a, tuned::Op op, const char* what) {
  const bool forward = op == tuned::Op::forward;
  const double error = forward ? check::worst_error(a, 64) : check::worst_gradient_error(a, 16);
  expect(error <= check::tolerance(static_cast<int>(a.dtype)),
         std::string(what) + (forward ? " has" : " of the gradients has") + " an error of " +
             std::to_string(error));
  const std::size_t bytes = std::size_t{2} * a.batch * a.heads * a.nq * a.head_dim;
  if (forward) std::memset(a.o, 255, bytes);
  for (void* gradient : {a.dq, a.dk, a.dv}) std::memset(gradient, 255, bytes);
}

void the_first_call_can_be_captured(const tuned::Attention& a, tuned::Op op, void* workspace,
                                    cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "cudaStreamBeginCapture");
  const tuned::Status status = call(a, op, workspace, stream);
  expect(status.ok(), status.text);
  require(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  require(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
  for (const char* time : {"the first replay", "the second replay"}) {
    require(cudaGraphLaunch(executable, stream), "cudaGraphLaunch");
    require(cudaStreamSynchronize(stream), "the graph");
    expect_right(a, op, time);
  }
}

void another_thread_can_call(const tuned::Attention& a, tuned::Op op, void* workspace, cudaStream_t stream) {
  std::thread([&] {
    require(cudaSetDevice(0), "cudaSetDevice");
    const tuned::Status status = call(a, op, workspace, stream);
    expect(status.ok(), status.text);
  }).join();
  require(cudaStreamSynchronize(stream), "the kernels");
  expect_right(a, op, "another thread");
}

}  // namespace

int main() {
  const check::HostProblem<tuned::Attention> problem(sizes(), {});
  const tuned::Attention a = on_device(problem.attention());
  void* workspace = nullptr;
  require(cudaMalloc(&workspace,
                     tuned::workspace_bytes(a) + tuned::workspace_bytes(a, tuned::Op::backward) + 256),
          "cudaMalloc");
  cudaStream_t stream = nullptr;
  require(cudaStreamCreate(&stream), "cudaStreamCreate");
  the_first_call_can_be_captured(a, tuned::Op::forward, workspace, stream);
  another_thread_can_call(a, tuned::Op::forward, workspace, stream);
  // Gradients are those of what forward() wrote.
  expect(tuned::forward(a, workspace, stream).ok(), "forward");
  require(cudaStreamSynchronize(stream), "the kernels");
  the_first_call_can_be_captured(a, tuned::Op::backward, workspace, stream);
  another_thread_can_call(a, tuned::Op::backward, workspace, stream);
  return failures() == 0 ? 0 : 1;
}
