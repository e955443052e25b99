/* Attention and its gradients through libfcsa in C, on the CPU or on a GPU, compared with double precision.

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

/* The problem in host memory, dense, causal. */
typedef struct {
  int rows;
  double scale;
  float *q, *k, *v, *o, *dout, *dq, *dk, *dv;
} Attention;

static size_t query_row(const Attention* a, int b, int h, int i) {
  return (((size_t)b * HEADS + h) * a->rows + i) * HEAD_DIM;
}

/* Of the key/value head that query head h reads. */
static size_t key_row(const Attention* a, int b, int h, int j) {
  return (((size_t)b * KV_HEADS + h / (HEADS / KV_HEADS)) * a->rows + j) * HEAD_DIM;
}

static double cosine(const float* a, const float* b) {
  return dot(a, b) / sqrt(dot(a, a) * dot(b, b));
}

/* Norm of a row's error, relative to the norm of what it should be. */
static double relative_error(const float* row, const double* expected) {
  double difference = 0, norm = 0;
  int c;
  for (c = 0; c < HEAD_DIM; ++c) {
    difference += (row[c] - expected[c]) * (row[c] - expected[c]);
    norm += expected[c] * expected[c];
  }
  return sqrt(difference / norm);
}

/* Sum over the keys that row i sees of exp(S - scale), and O when it is wanted. */
static double sum_of_weights(const Attention* a, int b, int h, int i, double* o) {
  const float* q = a->q + query_row(a, b, h, i);
  double sum = 0;
  int j, c;
  for (j = 0; j <= i; ++j) {
    const float *k = a->k + key_row(a, b, h, j), *v = a->v + key_row(a, b, h, j);
    const double weight = exp(a->scale * (cosine(q, k) - 1));
    for (c = 0; o != NULL && c < HEAD_DIM; ++c) o[c] += weight * v[c];
    sum += weight;
  }
  for (c = 0; o != NULL && c < HEAD_DIM; ++c) o[c] /= sum;
  return sum;
}

/* Of all rows of o. */
static double worst_error(const Attention* a) {
  double worst = 0;
  int b, h, i;
  for (b = 0; b < BATCH; ++b)
    for (h = 0; h < HEADS; ++h)
      for (i = 0; i < a->rows; ++i) {
        double o[HEAD_DIM] = {0}, error;
        sum_of_weights(a, b, h, i, o);
        error = relative_error(a->o + query_row(a, b, h, i), o);
        if (!(error <= worst)) worst = error;
      }
  return worst;
}

/* `sum` += `factor` times the gradient of the cosine of two rows by the first of them. */
static void add_gradient(double* sum, double factor, const float* by, const float* other) {
  const double c = cosine(by, other), norm = sqrt(dot(by, by)), other_norm = sqrt(dot(other, other));
  int d;
  for (d = 0; d < HEAD_DIM; ++d) sum[d] += factor * (other[d] / other_norm - c * by[d] / norm) / norm;
}

/* All gradients of one batch, [HEADS or KV_HEADS, rows, HEAD_DIM] each: S = scale * cosine, P = softmax(S),
   dS = P (dout . v - dout . o). */
static void add_gradients(const Attention* a, int b, double* dq, double* dk, double* dv) {
  int h, i, j, c;
  for (h = 0; h < HEADS; ++h)
    for (i = 0; i < a->rows; ++i) {
      const size_t row = query_row(a, b, h, i), own = row - query_row(a, b, 0, 0);
      const double sum = sum_of_weights(a, b, h, i, NULL);
      for (j = 0; j <= i; ++j) {
        const size_t key = key_row(a, b, h, j), shared = key - key_row(a, b, 0, 0);
        const double p = exp(a->scale * (cosine(a->q + row, a->k + key) - 1)) / sum;
        const double ds = p * (dot(a->dout + row, a->v + key) - dot(a->dout + row, a->o + row));
        add_gradient(dq + own, a->scale * ds, a->q + row, a->k + key);
        add_gradient(dk + shared, a->scale * ds, a->k + key, a->q + row);
        for (c = 0; c < HEAD_DIM; ++c) dv[shared + c] += p * a->dout[row + c];
      }
    }
}

/* Norm of the error of a whole tensor, relative to its norm: some rows of gradients are sums that cancel. */
static double tensor_error(const float* tensor, const double* expected, size_t count) {
  double difference = 0, norm = 0;
  size_t i;
  for (i = 0; i < count; ++i) {
    difference += (tensor[i] - expected[i]) * (tensor[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return sqrt(difference / norm);
}

/* Of dq, dk and dv, each batch by itself. */
static double worst_gradient_error(const Attention* a) {
  const size_t q_count = query_row(a, 1, 0, 0), k_count = key_row(a, 1, 0, 0);
  double worst = 0;
  int b, i;
  for (b = 0; b < BATCH; ++b) {
    double *dq = (double*)calloc(q_count, sizeof(double)), *dk = (double*)calloc(k_count, sizeof(double)),
           *dv = (double*)calloc(k_count, sizeof(double)), errors[3];
    if (dq == NULL || dk == NULL || dv == NULL) fail("calloc", "out of memory");
    add_gradients(a, b, dq, dk, dv);
    errors[0] = tensor_error(a->dq + b * q_count, dq, q_count);
    errors[1] = tensor_error(a->dk + b * k_count, dk, k_count);
    errors[2] = tensor_error(a->dv + b * k_count, dv, k_count);
    for (i = 0; i < 3; ++i)
      if (!(errors[i] <= worst)) worst = errors[i];
    free(dq);
    free(dk);
    free(dv);
  }
  return worst;
}

static void run_forward(fcsa_library* library, const fcsa_problem* problem, fcsa_tensors* tensors) {
  fcsa_plan* plan = NULL;
  check(fcsa_plan_create(library, problem, &plan), "fcsa_plan_create");
  check(fcsa_prepare(plan), "fcsa_prepare");
  fputs(fcsa_describe(plan), stdout);
  tensors->workspace_bytes = fcsa_workspace_bytes(plan);
  tensors->workspace = allocate(tensors->workspace_bytes);
  check(fcsa_forward(plan, tensors, NULL), "fcsa_forward");
  release(tensors->workspace); /* cudaFree waits for the kernels */
  fcsa_plan_destroy(plan);
}

static void run_backward(fcsa_library* library, fcsa_problem problem, fcsa_tensors* tensors) {
  fcsa_plan* plan = NULL;
  problem.op = FCSA_BACKWARD;
  check(fcsa_plan_create(library, &problem, &plan), "fcsa_plan_create");
  check(fcsa_prepare(plan), "fcsa_prepare");
  fputs(fcsa_describe(plan), stdout);
  tensors->workspace_bytes = fcsa_workspace_bytes(plan);
  tensors->workspace = allocate(tensors->workspace_bytes);
  check(fcsa_backward(plan, tensors, NULL), "fcsa_backward");
  release(tensors->workspace);
  fcsa_plan_destroy(plan);
}

int main(int argc, char** argv) {
  const int rows = argc > 1 ? atoi(argv[1]) : 333;
  const size_t q_count = (size_t)BATCH * HEADS * rows * HEAD_DIM,
               k_count = (size_t)BATCH * KV_HEADS * rows * HEAD_DIM;
  fcsa_library* library = NULL;
  fcsa_problem problem = FCSA_PROBLEM_INIT;
  fcsa_tensors tensors = FCSA_TENSORS_INIT;
  double worst, worst_gradient = 0;
  Attention a;
  a.rows = rows;
  a.scale = problem.scale;
  a.q = random_tensor(q_count, 1), a.k = random_tensor(k_count, 2), a.v = random_tensor(k_count, 3);
  a.o = random_tensor(q_count, 4), a.dout = random_tensor(q_count, 5);
  a.dq = random_tensor(q_count, 6), a.dk = random_tensor(k_count, 7), a.dv = random_tensor(k_count, 8);

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
  problem.lse = 1; /* the backward pass reads it */

  tensors.q = copy_of(a.q, q_count);
  tensors.k = copy_of(a.k, k_count);
  tensors.v = copy_of(a.v, k_count);
  tensors.o = allocate(q_count * sizeof(float));
  tensors.lse = (float*)allocate((size_t)BATCH * HEADS * rows * sizeof(float));
  tensors.dout = copy_of(a.dout, q_count);
  tensors.dq = allocate(q_count * sizeof(float));
  tensors.dk = allocate(k_count * sizeof(float));
  tensors.dv = allocate(k_count * sizeof(float));

  run_forward(library, &problem, &tensors);
  copy_from(a.o, tensors.o, q_count * sizeof(float));
  worst = worst_error(&a);
  printf("error: %.1e\n", worst);

  run_backward(library, problem, &tensors);
  copy_from(a.dq, tensors.dq, q_count * sizeof(float));
  copy_from(a.dk, tensors.dk, k_count * sizeof(float));
  copy_from(a.dv, tensors.dv, k_count * sizeof(float));
  worst_gradient = worst_gradient_error(&a);
  printf("error of the gradients: %.1e\n", worst_gradient);

  release((void*)tensors.q), release((void*)tensors.k), release((void*)tensors.v);
  release(tensors.o), release(tensors.lse), release((void*)tensors.dout);
  release(tensors.dq), release(tensors.dk), release(tensors.dv);
  free(a.q), free(a.k), free(a.v), free(a.o), free(a.dout), free(a.dq), free(a.dk), free(a.dv);
  fcsa_close(library);
  return worst < 5e-5 && worst_gradient < 5e-5 ? 0 : 1;
}
