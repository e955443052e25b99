/* libfcsa: flash cosine-similarity attention by kernels that were tuned for the device.

     O = softmax(scale * l2norm(q) l2norm(k)^T + bias) v      over the visible keys

   A plan is made for a problem (sizes, layout, features) on a device. It says how much workspace it needs, is
   prepared once, which compiles its kernels or takes them from the cache on disk, and then runs:

     fcsa_problem problem = FCSA_PROBLEM_INIT;
     problem.device = FCSA_CUDA;
     problem.dtype = FCSA_BF16;
     problem.batch = 2, problem.heads = 16, problem.nq = problem.nk = 4096, problem.head_dim = 64;
     fcsa_plan_create(library, &problem, &plan);
     fcsa_prepare(plan);

     fcsa_tensors tensors = FCSA_TENSORS_INIT;
     tensors.q = q, tensors.k = k, tensors.v = v, tensors.o = o;
     tensors.workspace = workspace, tensors.workspace_bytes = fcsa_workspace_bytes(plan);
     fcsa_forward(plan, &tensors, stream);

   The gradients of q, k and v (of the bias and the scale too, where they are wanted) from that of o are a
   problem of their own, with a plan and a workspace of its own. It takes o and lse from a forward pass with
   lse = 1; all else of the problem is the same:

     problem.op = FCSA_BACKWARD;
     fcsa_plan_create(library, &problem, &backward);
     tensors.lse = lse, tensors.dout = dout, tensors.dq = dq, tensors.dk = dk, tensors.dv = dv;
     tensors.workspace = workspace, tensors.workspace_bytes = fcsa_workspace_bytes(backward);
     fcsa_backward(backward, &tensors, stream);

   Functions return FCSA_OK or a status; fcsa_last_error() then says what was wrong and what to do about it.
   Every function may be called from several threads at a time, whatever the program does with signals. After
   fork() the child may use what its parent opened, except on CUDA devices; plans that were prepared before
   run in it, and what another thread was making or preparing at the time is FCSA_HOST_FAILED. C99 and C++. */
#ifndef FCSA_H
#define FCSA_H

#include <stddef.h>
#include <stdint.h>

#define FCSA_VERSION "0.2.0"

#if defined(__GNUC__)
#define FCSA_API __attribute__((visibility("default")))
#else
#define FCSA_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fcsa_status {
  FCSA_OK = 0,
  FCSA_INVALID_ARGUMENT = 1, /* a null or misaligned pointer, a size or a stride that can't be right */
  FCSA_UNSUPPORTED = 2,      /* right, but no kernel serves it on this device */
  FCSA_NO_DEVICE = 3,        /* no CUDA driver, or no CUDA context current in the calling thread */
  FCSA_NO_COMPILER = 4,      /* NVRTC or a C++ compiler is missing, or hangs */
  FCSA_NOT_PREPARED = 5,     /* a CUDA graph is being captured: call fcsa_prepare first */
  FCSA_COMPILE_FAILED = 6,   /* the compiler refused the kernels */
  FCSA_DEVICE_FAILED = 7,    /* the CUDA driver refused a call, or the kernels could not be loaded */
  FCSA_OUT_OF_MEMORY = 8,
  FCSA_INTERNAL = 9,    /* a bug in fcsa: please report the text */
  FCSA_HOST_FAILED = 10 /* what the operating system gives: no place to write, no process or thread to be had,
                           a fork() at the wrong time. Nothing is kept of it: a later call may go through */
} fcsa_status;

/* Values of the int32_t fields of fcsa_problem. */
enum { FCSA_FORWARD = 1, FCSA_BACKWARD = 2 }; /* op */
enum { FCSA_CPU = 1, FCSA_CUDA = 2 };         /* device */
enum { FCSA_F32 = 1, FCSA_BF16 = 2, FCSA_F16 = 3 };
enum { FCSA_BHND = 0, FCSA_BNHD = 1 };                             /* layout: batch, heads, rows, channels */
enum { FCSA_DQ = 1, FCSA_DK = 2, FCSA_DV = 4 };                    /* omitted_gradients */
enum { FCSA_NO_BIAS = 0, FCSA_BIAS_F32 = 1, FCSA_BIAS_DTYPE = 2 }; /* bias: none, in f32, in dtype */

/* Distances in elements between neighbours along an axis; channels are always contiguous. */
typedef struct fcsa_strides {
  int64_t batch, head, row;
} fcsa_strides;

/* What to compute. Start from FCSA_PROBLEM_INIT, set device, dtype, heads, nq, nk and head_dim, and what else
   is needed. Query head h reads key/value head h / (heads / kv_heads). */
typedef struct fcsa_problem {
  size_t size;      /* sizeof(fcsa_problem) */
  int32_t op;       /* FCSA_FORWARD, or FCSA_BACKWARD: the gradients */
  int32_t device;   /* FCSA_CPU, or FCSA_CUDA: the context that is current in the calling thread */
  int32_t dtype;    /* of q, k, v and o: FCSA_F32, FCSA_BF16, FCSA_F16 */
  int32_t batch;    /* 1. 0: nothing to compute, as with nq or nk of 0 */
  int32_t heads;    /* of q and o */
  int32_t kv_heads; /* of k and v; divides heads. 0: as many as heads */
  int32_t nq,
      nk;           /* rows of q and o, rows of k and v. nq = 0: nothing to write but zeros in dk and dv; nk =
                       0:   o = 0, lse = -inf, dq = 0. batch x heads x nq and batch x kv_heads x nk: below 2^31 */
  int32_t head_dim; /* a multiple of 16 from 16 to 256 */
  int32_t layout;   /* FCSA_BHND or FCSA_BNHD, of tensors whose strides are all zero: they are dense */
  int32_t causal;   /* 1: query i sees key j when j <= i + (nk - nq) */
  int32_t key_mask; /* 1: tensors.key_mask says which keys are visible */
  int32_t lse;      /* 1: tensors.lse is written. The backward pass reads it, whatever this is */
  int32_t bias;     /* FCSA_NO_BIAS, FCSA_BIAS_F32, FCSA_BIAS_DTYPE */
  int32_t bias_batch; /* divides batch; batch b reads b % bias_batch. 0: as many as batch */
  int32_t bias_heads; /* 1, or as many as heads. 0: as many as heads */
  int32_t head_scale; /* 1: the scale of each query head is read from tensors.head_scale; `scale` is not */
  int32_t l2norm_qk;  /* 1: rows of q and k are divided by their norms. 0: they are taken as they are */
  int32_t groups;     /* l2norm of each of this many equal parts of the channels. 1 */
  int32_t allow_tf32; /* 1: products of f32 tensors may be rounded to TF32, 10 bits of mantissa */
  int32_t key_mask_batch; /* 1: one row of the mask for all batches. 0: as many as batch */
  float scale;            /* of the logits. 8 */
  float logit_bound; /* above 0: a promise that no |logit| is larger, which is faster where it can't be worked
                        out: raw q and k, bias, head_scale. 0: no promise */
  float eps; /* norms are clamped to at least this, however small at least to 2^-126 (FCSA_CPU) or 2^-60
                (FCSA_CUDA). 1e-12 */
  fcsa_strides q_strides, k_strides, v_strides, o_strides; /* multiples of 16 bytes; all zero: dense. Between
                         the batches of q, k, v and dout 0 is allowed, where all batches read the same */
  fcsa_strides bias_strides; /* row: between queries; keys are contiguous. All zero: dense [b, h, nq, nk] */
  int64_t key_mask_stride;   /* elements between batches. 0: nk */

  /* FCSA_BACKWARD only. */
  int32_t bias_gradient;  /* 1: tensors.dbias is written */
  int32_t scale_gradient; /* 1: tensors.dscale is written */
  int32_t deterministic;  /* 1: the same bits from every run on the same device, which may be slower */
  int32_t reserved;       /* 0 */
  fcsa_strides dout_strides, dq_strides, dk_strides, dv_strides; /* as those of q; dq, dk, dv: rows apart */
  fcsa_strides dbias_strides;                                    /* as those of the bias; rows apart */

  /* A struct of an older program ends here, which its size says: what follows is then as in
   * FCSA_PROBLEM_INIT. */
  int32_t key_lengths; /* 1: tensors.key_lengths says how many keys of each batch are visible; not together
                          with key_mask. What is chosen, what runs and what it costs is that of the mask that
                          says the same, which is written into the workspace first: batch x nk bytes */
  int32_t
      omitted_gradients; /* FCSA_BACKWARD only: FCSA_DQ, FCSA_DK, FCSA_DV or several of them added up, whose
                            pointers are then null. What is computed for them alone is left out, which is up
                            to half of the work; where a kernel can't, it writes them into the workspace */
} fcsa_problem;

/* clang-format off */
#define FCSA_PROBLEM_INIT {                                                     \
  sizeof(fcsa_problem), /* size */                                              \
  FCSA_FORWARD, /* op */                                                        \
  0, /* device */                                                               \
  0, /* dtype */                                                                \
  1, /* batch */                                                                \
  0, /* heads */                                                                \
  0, /* kv_heads */                                                             \
  0, 0, /* nq, nk */                                                            \
  0, /* head_dim */                                                             \
  FCSA_BHND, /* layout */                                                       \
  0, /* causal */                                                               \
  0, /* key_mask */                                                             \
  0, /* lse */                                                                  \
  FCSA_NO_BIAS, /* bias */                                                      \
  0, 0, /* bias_batch, bias_heads */                                            \
  0, /* head_scale */                                                           \
  1, /* l2norm_qk */                                                            \
  1, /* groups */                                                               \
  0, /* allow_tf32 */                                                           \
  0, /* key_mask_batch */                                                       \
  8.0f, /* scale */                                                             \
  0.0f, /* logit_bound */                                                       \
  1e-12f, /* eps */                                                             \
  {0, 0, 0}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0}, /* strides of q, k, v, o */       \
  {0, 0, 0}, /* bias_strides */                                                 \
  0, /* key_mask_stride */                                                      \
  0, /* bias_gradient */                                                        \
  0, /* scale_gradient */                                                       \
  0, /* deterministic */                                                        \
  0, /* reserved */                                                             \
  {0, 0, 0}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0}, /* strides of dout, dq, dk, dv */ \
  {0, 0, 0}, /* dbias_strides */                                                \
  0, /* key_lengths */                                                          \
  0 /* omitted_gradients */                                                     \
}
/* clang-format on */

/* Where it is: device pointers for FCSA_CUDA. q, k, v, o and their gradients are aligned to 16 bytes, the
   workspace to 256, the others to their elements. Nothing that is written overlaps with anything else. Start
   from FCSA_TENSORS_INIT; what the problem doesn't have, and a tensor without elements, may be null.

   What nobody sees has no influence, infinities and NaN included: k and v of keys that key_mask or
   key_lengths hide, and q and dout of rows that see no key for the masks' sake. Of keys that some rows see
   and others don't (causal, a bias of -inf), the rows that don't see them notice nothing on FCSA_CPU, nor in
   o by kernels on the CUDA cores (f32); on tensor cores infinities and NaN there spread to the rows of the
   same tile.

   Biases, scales and eps may be anything finite. Where |lse| is above about 1e5, its rounding to f32 shows in
   the gradients. */
typedef struct fcsa_tensors {
  size_t size;   /* sizeof(fcsa_tensors) */
  const void* q; /* [batch, heads, nq, head_dim] */
  const void* k; /* [batch, kv_heads, nk, head_dim] */
  const void* v; /* [batch, kv_heads, nk, head_dim] */
  void* o;       /* [batch, heads, nq, head_dim]; a row that sees no key gives 0 */
  float* lse;    /* [batch, heads, nq] dense: log of the sum of exp over the visible keys; no key: -inf */
  const uint8_t* key_mask; /* [batch, nk], not 0: visible */
  const void* bias;        /* [bias_batch, bias_heads, nq, nk] */
  const float* head_scale; /* [heads] */
  void* workspace;         /* of one call at a time; may be null where the plan needs none */
  size_t workspace_bytes;  /* at least fcsa_workspace_bytes(plan) */

  /* fcsa_backward only: fcsa_forward doesn't look at them. Gradients are written, not added to, and have the
     dtype and the shape of what they are the gradients of: q and k as they are given, not normalised. */
  const void* dout; /* as o: the gradient of o, given */
  void* dq;         /* as q */
  void* dk;         /* as k, summed over the query heads that read it */
  void* dv;         /* as v, likewise */
  void* dbias;      /* as the bias, summed over the batches and heads that share it */
  float* dscale;    /* [heads], summed over batches and rows; of one scale for all heads: add them up */

  /* As in fcsa_problem, what follows may be missing. */
  const int32_t* key_lengths; /* [batch]: key j of batch b is visible where j < key_lengths[b]; below 0 counts
                                 as 0, above nk as nk. Both passes read it */
} fcsa_tensors;

/* clang-format off */
#define FCSA_TENSORS_INIT {                      \
  sizeof(fcsa_tensors), /* size */               \
  NULL, NULL, NULL, NULL, /* q, k, v, o */       \
  NULL, /* lse */                                \
  NULL, /* key_mask */                           \
  NULL, /* bias */                               \
  NULL, /* head_scale */                         \
  NULL, /* workspace */                          \
  0, /* workspace_bytes */                       \
  NULL, NULL, NULL, NULL, /* dout, dq, dk, dv */ \
  NULL, /* dbias */                              \
  NULL, /* dscale */                             \
  NULL /* key_lengths */                         \
}
/* clang-format on */

/* How to open the library. Start from FCSA_OPTIONS_INIT. */
typedef struct fcsa_options {
  size_t size; /* sizeof(fcsa_options) */
  /* Null: $FCSA_DB, else the user's database (~/.local/share/fcsa/tuning.db), where `fcsa tune` keeps what it
     measures. Empty: no database. Else: this file. Where that has nothing for a problem, the data that is
     shipped with the library decides (not with an empty name), and then built-in defaults. A database that
     can't be used is reported once and done without. */
  const char* database;
  const char* cache_directory; /* of compiled kernels; null: $XDG_CACHE_HOME/fcsa or ~/.cache/fcsa */
  /* Receives a line for each thing that the library does without; null: they go to stderr. Called from inside
     fcsa_open, fcsa_plan_create, fcsa_prepare, fcsa_forward and fcsa_backward, of which it must call none, as
     long as there is a plan. */
  void (*log)(void* log_data, const char* line);
  void* log_data;
} fcsa_options;

#define FCSA_OPTIONS_INIT \
  { sizeof(fcsa_options), NULL, NULL, NULL, NULL }

typedef struct fcsa_library fcsa_library;
typedef struct fcsa_plan fcsa_plan;

/* Of the library that is linked: FCSA_VERSION is that of this header. */
FCSA_API const char* fcsa_version(void);
/* Of the latest call in this thread that didn't return FCSA_OK: what was wrong and what to do. Valid until
   the next one fails. */
FCSA_API const char* fcsa_last_error(void);
/* "FCSA_INVALID_ARGUMENT" */
FCSA_API const char* fcsa_status_name(fcsa_status status);

/* Touches no device. `options` may be null. */
FCSA_API fcsa_status fcsa_open(const fcsa_options* options, fcsa_library** library);
/* How many threads CPU kernels use from their next call on, the calling one included: at most 1024. 0: what
   the library starts with, $FCSA_NUM_THREADS or as many as there are usable cores. Results don't depend on
   it. */
FCSA_API fcsa_status fcsa_set_num_threads(fcsa_library* library, int32_t threads);
/* Plans stay valid. Null is allowed. */
FCSA_API void fcsa_close(fcsa_library* library);

/* Chooses the configuration. Cheap when the library has seen the problem before: equal problems in one CUDA
   context share one plan. A CUDA plan belongs to the context that is current now, which has to
   live longer. */
FCSA_API fcsa_status fcsa_plan_create(fcsa_library* library, const fcsa_problem* problem, fcsa_plan** plan);
/* Once for every fcsa_plan_create, when no launch of it is under way and no CUDA graph that holds one will be
   launched again. Null is allowed. */
FCSA_API void fcsa_plan_destroy(fcsa_plan* plan);
/* A multiple of 256; 0 for null. */
FCSA_API size_t fcsa_workspace_bytes(const fcsa_plan* plan);
/* Several lines of text: the problem, the configuration, why it was chosen, and where its kernels come from.
   Belongs to the plan. "" for null. */
FCSA_API const char* fcsa_describe(const fcsa_plan* plan);

/* Compiles the kernels (seconds, once: they are kept on disk) or finds them compiled, and loads them. Does
   nothing when that was done. Not needed: fcsa_forward and fcsa_backward do it when it is missing, except
   while the stream is captured. */
FCSA_API fcsa_status fcsa_prepare(fcsa_plan* plan);
/* Of a plan with op FCSA_FORWARD: reads q, k, v and what else the problem has, writes o and lse.
   CUDA: enqueues the kernels on `stream` (a cudaStream_t or CUstream of the plan's context; null: the default
   stream) and returns; a prepared plan allocates nothing and waits for nothing, and can be captured into a
   graph. CPU: returns when it is done; `stream` is not looked at. */
FCSA_API fcsa_status fcsa_forward(fcsa_plan* plan, const fcsa_tensors* tensors, void* stream);
/* Of a plan with op FCSA_BACKWARD: reads what fcsa_forward reads, dout, and the o and lse that it wrote;
   writes dq, dk and dv but for those that the problem omits, and dbias and dscale where it says so. A row of
   q that sees no key, a row of k that no query sees, and groups of q and k whose norm is under eps have
   gradients of 0. Stream, allocation and capture: as for fcsa_forward. */
FCSA_API fcsa_status fcsa_backward(fcsa_plan* plan, const fcsa_tensors* tensors, void* stream);

#ifdef __cplusplus
}
#endif

#endif
