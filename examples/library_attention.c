/* Attention through libfcsa in C, on the CPU or on a GPU, compared with double precision.

   cc -std=c99 library_attention.c -lfcsa -lm -o library_attention && ./library_attention [rows]
   nvcc -DWITH_CUDA library_attention.c -lfcsa -o library_attention */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <fcsa.h>

#ifdef WITH_CUDA
#include <cuda_runtime_api.h>
#endif

enum { BATCH = 2, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 64 };

static void fail(const char* what, const char* why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static void check(fcsa_status status, const char* what) {
  if (status != FCSA_OK) fail(what, fcsa_last_error());
}

/* Memory where the kernels run. */
#ifdef WITH_CUDA
static void check_cuda(cudaError_t error, const char* what) {
  if (error != cudaSuccess) fail(what, cudaGetErrorString(error));
}
static void* allocate(size_t bytes) {
  void* data = NULL;
  check_cuda(cudaMalloc(&data, bytes > 0 ? bytes : 1), "cudaMalloc");
  return data;
}
static void release(void* data) {
  cudaFree(data);
}
static void copy_to(void* to, const void* from, size_t bytes) {
  check_cuda(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
}
static void copy_from(void* to, const void* from, size_t bytes) {
  check_cuda(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
}
#else
#include <string.h>
/* 256 bytes are what the workspace asks for; the address that malloc gave is kept in front of it. */
static void* allocate(size_t bytes) {
  char* block = (char*)malloc(bytes + 512);
  char* data;
  if (block == NULL) fail("malloc", "out of memory");
  data = block + 512 - (size_t)block % 256;
  ((char**)data)[-1] = block;
  return data;
}
static void release(void* data) {
  free(((char**)data)[-1]);
}
static void copy_to(void* to, const void* from, size_t bytes) {
  memcpy(to, from, bytes);
}
static void copy_from(void* to, const void* from, size_t bytes) {
  memcpy(to, from, bytes);
}
#endif

static float* random_tensor(size_t count, unsigned seed) {
  float* values = (float*)malloc(count * sizeof(float));
  size_t i;
  if (values == NULL) fail("malloc", "out of memory");
  srand(seed);
  for (i = 0; i < count; ++i) values[i] = 4.0f * (float)rand() / (float)RAND_MAX - 2.0f;
  return values;
}

static void* copy_of(const float* values, size_t count) {
  void* data = allocate(count * sizeof(float));
  copy_to(data, values, count * sizeof(float));
  return data;
}

static double dot(const float* a, const float* b) {
  double sum = 0;
  int c;
  for (c = 0; c < HEAD_DIM; ++c) sum += (double)a[c] * b[c];
  return sum;
}

/* Error of one row of o, relative to its norm. `k` and `v` are those of its head; the row sees `visible`
 * keys. */
static double error_of(const float* q, const float* k, const float* v, const float* o, int visible,
                       double scale) {
  double expected[HEAD_DIM] = {0}, sum = 0, difference = 0, norm = 0;
  int j, c;
  for (j = 0; j < visible; ++j) {
    const float* key = k + (size_t)j * HEAD_DIM;
    const double cosine = dot(q, key) / sqrt(dot(q, q) * dot(key, key));
    const double weight = exp(scale * (cosine - 1));
    for (c = 0; c < HEAD_DIM; ++c) expected[c] += weight * v[(size_t)j * HEAD_DIM + c];
    sum += weight;
  }
  for (c = 0; c < HEAD_DIM; ++c) {
    expected[c] /= sum;
    difference += (o[c] - expected[c]) * (o[c] - expected[c]);
    norm += expected[c] * expected[c];
  }
  return sqrt(difference / norm);
}

int main(int argc, char** argv) {
  const int rows = argc > 1 ? atoi(argv[1]) : 333;
  const size_t q_count = (size_t)BATCH * HEADS * rows * HEAD_DIM,
               k_count = (size_t)BATCH * KV_HEADS * rows * HEAD_DIM;
  float *q = random_tensor(q_count, 1), *k = random_tensor(k_count, 2), *v = random_tensor(k_count, 3),
        *o = random_tensor(q_count, 4);
  fcsa_library* library = NULL;
  fcsa_plan* plan = NULL;
  fcsa_problem problem = FCSA_PROBLEM_INIT;
  fcsa_tensors tensors = FCSA_TENSORS_INIT;
  double worst = 0;
  int b, h, i;

#ifdef WITH_CUDA
  check_cuda(cudaSetDevice(0), "cudaSetDevice"); /* plans are made for the context that is current */
#endif
  check(fcsa_open(NULL, &library), "fcsa_open");

#ifdef WITH_CUDA
  problem.device = FCSA_CUDA;
#else
  problem.device = FCSA_CPU;
#endif
  problem.dtype = FCSA_F32;
  problem.batch = BATCH;
  problem.heads = HEADS;
  problem.kv_heads = KV_HEADS;
  problem.nq = problem.nk = rows;
  problem.head_dim = HEAD_DIM;
  problem.causal = 1;
  check(fcsa_plan_create(library, &problem, &plan), "fcsa_plan_create");
  check(fcsa_prepare(plan), "fcsa_prepare");
  fputs(fcsa_describe(plan), stdout);

  tensors.q = copy_of(q, q_count);
  tensors.k = copy_of(k, k_count);
  tensors.v = copy_of(v, k_count);
  tensors.o = allocate(q_count * sizeof(float));
  tensors.workspace_bytes = fcsa_workspace_bytes(plan);
  tensors.workspace = allocate(tensors.workspace_bytes);
  check(fcsa_forward(plan, &tensors, NULL), "fcsa_forward");
  copy_from(o, tensors.o, q_count * sizeof(float));

  for (b = 0; b < BATCH; ++b)
    for (h = 0; h < HEADS; ++h)
      for (i = 0; i < rows; ++i) {
        const size_t row = ((size_t)b * HEADS + h) * rows + i;
        const size_t keys = ((size_t)b * KV_HEADS + h / (HEADS / KV_HEADS)) * rows;
        const double error = error_of(q + row * HEAD_DIM, k + keys * HEAD_DIM, v + keys * HEAD_DIM,
                                      o + row * HEAD_DIM, i + 1, problem.scale);
        if (!(error <= worst)) worst = error;
      }
  printf("error: %.1e\n", worst);

  release((void*)tensors.q);
  release((void*)tensors.k);
  release((void*)tensors.v);
  release(tensors.o);
  release(tensors.workspace);
  free(q);
  free(k);
  free(v);
  free(o);
  fcsa_plan_destroy(plan);
  fcsa_close(library);
  return worst < 5e-5 ? 0 : 1;
}
