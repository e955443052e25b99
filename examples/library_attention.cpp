// Attention and its gradients through libfcsa in C++, on the CPU or on a GPU, compared with double precision:
// several dtypes, grouped heads, a key mask, rows before heads; on a GPU also replayed from a CUDA graph.
//   g++ -std=c++17 -O2 library_attention.cpp -lfcsa -o library_attention && ./library_attention [rows ...]
//   nvcc -std=c++17 -O2 -DWITH_CUDA library_attention.cpp -lfcsa -o library_attention
#include <fcsa.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"

#ifdef WITH_CUDA
#include <cuda_runtime_api.h>
#endif

namespace {

void require(fcsa_status status) {
  if (status != FCSA_OK) throw std::runtime_error(fcsa_last_error());
}

struct CloseLibrary {
  void operator()(fcsa_library* library) const { fcsa_close(library); }
};
struct DestroyPlan {
  void operator()(fcsa_plan* plan) const { fcsa_plan_destroy(plan); }
};
using Library = std::unique_ptr<fcsa_library, CloseLibrary>;
using Plan = std::unique_ptr<fcsa_plan, DestroyPlan>;

Library open_library() {
  fcsa_library* library = nullptr;
  require(fcsa_open(nullptr, &library));
  return Library(library);
}

// Made and prepared: compiled when this machine runs it for the first time.
Plan prepared_plan(const Library& library, const fcsa_problem& problem) {
  fcsa_plan* made = nullptr;
  require(fcsa_plan_create(library.get(), &problem, &made));
  Plan plan(made);
  require(fcsa_prepare(made));
  return plan;
}

#ifdef WITH_CUDA
void require(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

constexpr int kDevice = FCSA_CUDA;
using Stream = cudaStream_t;

// Device memory, freed on destruction.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes) : bytes_(bytes) { require(cudaMalloc(&data_, bytes > 0 ? bytes : 1)); }
  explicit Buffer(const std::vector<unsigned char>& host) : Buffer(host.size()) {
    require(cudaMemcpy(data_, host.data(), bytes_, cudaMemcpyHostToDevice));
  }
  ~Buffer() { cudaFree(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  void clear() { require(cudaMemset(data_, 0xff, bytes_)); }
  std::vector<unsigned char> host() const {
    std::vector<unsigned char> copy(bytes_);
    require(cudaMemcpy(copy.data(), data_, bytes_, cudaMemcpyDeviceToHost));
    return copy;
  }

 private:
  std::size_t bytes_;
  void* data_ = nullptr;
};
#else
constexpr int kDevice = FCSA_CPU;
using Stream = void*;

// Memory aligned to 256 bytes, freed on destruction.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes)
      : bytes_(bytes), data_(std::aligned_alloc(256, (bytes + 256) / 256 * 256)) {}
  explicit Buffer(const std::vector<unsigned char>& host) : Buffer(host.size()) {
    std::memcpy(data_, host.data(), bytes_);
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  std::vector<unsigned char> host() const {
    const auto* begin = static_cast<const unsigned char*>(data_);
    return {begin, begin + bytes_};
  }

 private:
  std::size_t bytes_;
  void* data_;
};
#endif

// What check.h needs to know of a problem and its tensors in host memory.
enum class Layout { bhnd, bnhd };

struct Attention {
  const void *q, *k, *v, *o;
  const float* lse;
  const unsigned char* key_mask;
  int dtype, batch, heads, kv_heads, nq, nk, head_dim;
  Layout layout;
  bool causal, l2norm_qk;
  float scale, eps;
  int groups = 1;
  const float* head_scale = nullptr;
  const void* bias = nullptr;
  int bias_batch = 0, bias_heads = 0, bias_dtype = 0;
  const void *dout = nullptr, *dq = nullptr, *dk = nullptr, *dv = nullptr;
};

int check_dtype(int dtype) {
  return dtype == FCSA_F32 ? 0 : dtype == FCSA_BF16 ? 1 : 2;
}

// A problem with random tensors, on the host and where it runs.
class Example {
 public:
  explicit Example(const fcsa_problem& problem)
      : problem_(problem),
        q_(tensor(problem.heads, problem.nq, 1)),
        k_(tensor(problem.kv_heads, problem.nk, 2)),
        v_(tensor(problem.kv_heads, problem.nk, 3)),
        dout_(tensor(problem.heads, problem.nq, 5)),
        key_mask_(check::random_mask(static_cast<std::size_t>(problem.batch) * problem.nk, 4)),
        device_q_(q_),
        device_k_(k_),
        device_v_(v_),
        device_dout_(dout_),
        device_mask_(key_mask_),
        o_(q_.size()),
        dq_(q_.size()),
        dk_(k_.size()),
        dv_(v_.size()),
        lse_(sizeof(float) * problem.batch * problem.heads * problem.nq) {}

  // Of both passes: the forward pass doesn't look at the gradients.
  fcsa_tensors tensors(const Buffer& workspace) const {
    fcsa_tensors t = FCSA_TENSORS_INIT;
    t.q = device_q_.data();
    t.k = device_k_.data();
    t.v = device_v_.data();
    t.o = o_.data();
    t.lse = static_cast<float*>(lse_.data());
    if (problem_.key_mask) t.key_mask = static_cast<const unsigned char*>(device_mask_.data());
    t.dout = device_dout_.data();
    t.dq = dq_.data();
    t.dk = dk_.data();
    t.dv = dv_.data();
    t.workspace = workspace.data();
    t.workspace_bytes = workspace.bytes();
    return t;
  }

  Buffer& o() { return o_; }

  double worst_error() const {
    const auto o = o_.host(), lse = lse_.host();
    return check::worst_error(attention(o, lse), 64);
  }

  double worst_gradient_error() const {
    const auto o = o_.host(), lse = lse_.host(), dq = dq_.host(), dk = dk_.host(), dv = dv_.host();
    Attention a = attention(o, lse);
    a.dout = dout_.data();
    a.dq = dq.data();
    a.dk = dk.data();
    a.dv = dv.data();
    return check::worst_gradient_error(a, 64);
  }

 private:
  std::vector<unsigned char> tensor(int heads, int rows, unsigned seed) const {
    return check::random_tensor(check_dtype(problem_.dtype),
                                static_cast<std::size_t>(problem_.batch) * heads * rows * problem_.head_dim,
                                seed);
  }

  Attention attention(const std::vector<unsigned char>& o, const std::vector<unsigned char>& lse) const {
    return Attention{q_.data(),
                     k_.data(),
                     v_.data(),
                     o.data(),
                     reinterpret_cast<const float*>(lse.data()),
                     problem_.key_mask ? key_mask_.data() : nullptr,
                     check_dtype(problem_.dtype),
                     problem_.batch,
                     problem_.heads,
                     problem_.kv_heads,
                     problem_.nq,
                     problem_.nk,
                     problem_.head_dim,
                     problem_.layout == FCSA_BNHD ? Layout::bnhd : Layout::bhnd,
                     problem_.causal != 0,
                     true,
                     problem_.scale,
                     problem_.eps};
  }

  fcsa_problem problem_;
  std::vector<unsigned char> q_, k_, v_, dout_, key_mask_;
  Buffer device_q_, device_k_, device_v_, device_dout_, device_mask_, o_, dq_, dk_, dv_, lse_;
};

#ifdef WITH_CUDA
// Captures one launch into a graph and replays it: every replay gives the same bits.
bool replays_from_a_graph(fcsa_plan* plan, Example& example, const fcsa_tensors& tensors,
                          cudaStream_t stream) {
  const auto expected = example.o().host();
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  require(fcsa_forward(plan, &tensors, stream));
  require(cudaStreamEndCapture(stream, &graph));
  require(cudaGraphInstantiate(&executable, graph, 0));
  bool same = true;
  for (int replay = 0; replay < 3; ++replay) {
    example.o().clear();
    require(cudaGraphLaunch(executable, stream));
    require(cudaStreamSynchronize(stream));
    same = same && example.o().host() == expected;
  }
  require(cudaGraphExecDestroy(executable));
  require(cudaGraphDestroy(graph));
  return same;
}
#endif

void wait_for(Stream stream) {
#ifdef WITH_CUDA
  require(cudaStreamSynchronize(stream));
#else
  static_cast<void>(stream);
#endif
}

bool report(const fcsa_plan* plan, double error, double tolerance) {
  const bool right = error <= tolerance;
  std::printf("%serror: %.1e %s\n", fcsa_describe(plan), error, right ? "(ok)" : "(WRONG)");
  return right;
}

bool run_forward(const Library& library, const fcsa_problem& problem, Example& example, Stream stream) {
  const Plan plan = prepared_plan(library, problem);
  const Buffer workspace(fcsa_workspace_bytes(plan.get()));
  const fcsa_tensors tensors = example.tensors(workspace);
  require(fcsa_forward(plan.get(), &tensors, stream));
  wait_for(stream);
  bool right = report(plan.get(), example.worst_error(), check::tolerance(check_dtype(problem.dtype)));
#ifdef WITH_CUDA
  const bool same = replays_from_a_graph(plan.get(), example, tensors, stream);
  std::printf("replayed from a CUDA graph: %s\n", same ? "the same bits" : "DIFFERENT");
  right = right && same;
#endif
  return right;
}

// From the o and lse that the forward pass left.
bool run_backward(const Library& library, fcsa_problem problem, const Example& example, Stream stream) {
  problem.op = FCSA_BACKWARD;
  const Plan plan = prepared_plan(library, problem);
  const Buffer workspace(fcsa_workspace_bytes(plan.get()));
  const fcsa_tensors tensors = example.tensors(workspace);
  require(fcsa_backward(plan.get(), &tensors, stream));
  wait_for(stream);
  return report(plan.get(), example.worst_gradient_error(), check::tolerance(check_dtype(problem.dtype)));
}

bool run(const Library& library, const fcsa_problem& problem, Stream stream) {
  Example example(problem);
  const bool forward = run_forward(library, problem, example, stream);
  const bool backward = run_backward(library, problem, example, stream);
  std::printf("\n");
  return forward && backward;
}

std::vector<int> lengths_from(int argc, char** argv) {
  std::vector<int> lengths;
  for (int i = 1; i < argc; ++i) lengths.push_back(std::atoi(argv[i]));
  return lengths.empty() ? std::vector<int>{333, 1000, 4097} : lengths;
}

bool run_rows(const Library& library, int rows, Stream stream) {
  bool right = true;
  for (const int dtype : {FCSA_F32, FCSA_BF16, FCSA_F16}) {
    fcsa_problem problem = FCSA_PROBLEM_INIT;
    problem.device = kDevice;
    problem.dtype = dtype;
    problem.batch = 2;
    problem.heads = problem.kv_heads = 4;
    problem.nq = problem.nk = rows;
    problem.head_dim = 64;
    problem.lse = 1;
    right = run(library, problem, stream) && right;
    // Two query heads for each key/value head, fewer queries than keys, axes as most frameworks have them.
    problem.kv_heads = 2;
    problem.nq = rows / 2 + 1;
    problem.causal = 1;
    problem.key_mask = 1;
    problem.layout = FCSA_BNHD;
    right = run(library, problem, stream) && right;
  }
  return right;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Stream stream = nullptr;
#ifdef WITH_CUDA
    require(cudaSetDevice(0));  // plans are made for the context that is current
    require(cudaStreamCreate(&stream));
#endif
    const Library library = open_library();
    bool right = true;
    for (const int rows : lengths_from(argc, argv)) right = run_rows(library, rows, stream) && right;
    return right ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
