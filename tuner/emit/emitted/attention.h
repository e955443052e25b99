#include <cstddef>

using fcsa::kernels::DType;    // f32, bf16, f16
using fcsa::kernels::Layout;   // axes in memory: bhnd: batch, heads, rows, channels; bnhd: rows before heads
using fcsa::kernels::Op;       // forward, backward
using fcsa::kernels::Strides;  // .batch, .head, .row: elements between neighbours; channels are contiguous

// O = softmax(scale * l2norm(q) l2norm(k)^T + bias) V  over the visible keys. Query head h reads key/value
// head h / (heads / kv_heads). Pointers are aligned to 16 bytes, strides of q, k, v, o and their gradients
// are multiples of 16 bytes; that between the batches of what is read may be 0. What nobody sees (keys that
// key_mask hides, rows that see no key for the masks' sake) may hold anything, NaN included. forward() writes
// o and lse; backward() reads them, and dout, and writes (doesn't add to) the gradients.
struct Attention {
  const void* q = nullptr;  // [batch, heads, nq, head_dim] of dtype
  const void* k = nullptr;  // [batch, kv_heads, nk, head_dim]
  const void* v = nullptr;  // [batch, kv_heads, nk, head_dim]
  void* o = nullptr;        // [batch, heads, nq, head_dim]; a row that sees no key gives 0
  float* lse = nullptr;     // [batch, heads, nq] contiguous: natural log of the sum over visible keys of
                            // exp(S), -inf where there are none. Null, for forward() only: unread
  const unsigned char* key_mask = nullptr;  // [batch, nk], nonzero: visible. Null: every key is
  const void* bias = nullptr;         // [bias_batch, bias_heads, nq, nk] of bias_dtype; batch b reads b mod
                                      // bias_batch. Null: none
  const float* head_scale = nullptr;  // [heads], in place of scale; read where the tensors are. Null: scale

  // For backward() only.
  const void* dout = nullptr;  // gradient of o, and its shape
  void* dq = nullptr;          // of the shapes of q, k and v
  void* dk = nullptr;
  void* dv = nullptr;
  void* dbias = nullptr;    // as the bias, summed over the batches and heads that share it. Null: not wanted
  float* dscale = nullptr;  // [heads], summed over batches and rows; of one scale for all heads: add them up.
                            // Null: not wanted
  bool deterministic = false;  // the same bits from every run on the same device

  DType dtype = DType::f32;
  // batch, nq or nk of 0: nothing to compute; o is 0 and lse -inf without keys, gradients are 0, and a tensor
  // without elements may be null.
  int batch = 1, heads = 1, kv_heads = 1, nq = 1, nk = 1, head_dim = 64;
  DType bias_dtype = DType::f32;       // f32, or dtype
  int bias_batch = 0, bias_heads = 0;  // divides batch; 1 or heads. Zero: as many as batch, as heads
  bool causal = false;                 // query i sees key j when j <= i + (nk - nq)
  bool l2norm_qk = true;               // divide the rows of q and k by their norms (clamped to at least eps)
  int groups = 1;                      // l2norm of each of this many equal parts of the channels
  float scale = 8.0f;                  // of the logits
  float logit_bound =
      0.0f;  // when positive, a promise that no |logit| is larger; otherwise worked out from scale
  float eps = 1e-12f;
  bool allow_tf32 = false;  // of f32: products may be rounded to TF32, 10 bits of mantissa

  Layout layout = Layout::bhnd;  // of tensors whose strides are left at zero: they are dense
  Strides q_strides, k_strides, v_strides, o_strides;  // set all three numbers of a tensor, or none
  Strides dout_strides, dq_strides, dk_strides, dv_strides;
  Strides bias_strides,
      dbias_strides;               // as above: row is the distance between queries, and keys are contiguous
  long long key_mask_stride = -1;  // elements between batches; -1: dense, 0: one row for all
};

enum class Code : int {
  ok,
  invalid_argument,  // a null or misaligned pointer, a size or a stride that can't be right
  unsupported,       // this header has no kernel for the problem
  wrong_device,  // tuned or compiled for another GPU architecture; the processor lacks the instruction set
  launch_failed  // CUDA refused; on a CPU: no memory, no threads
};

struct [[nodiscard]] Status {
  Code code = Code::ok;
  char text[256] = "";  // what is wrong and what to do about it; empty when ok
  bool ok() const { return code == Code::ok; }
};

enum class Match : int {
  exact,    // this shape was tuned
  nearest,  // predicted to be the fastest, from tuned shapes with the same dtype, head_dim, mask and so on
  default_choice  // nothing like it was tuned: a configuration that is right, and good on most shapes
};

// What a call would launch, and why.
struct Selection {
  Status status;                   // not ok: nothing; the text says why
  const char* configuration = "";  // "simt.forward{block_n=32}"
  Match match = Match::default_choice;
  int nq = 0, nk = 0, batch_heads = 0;  // this shape or the nearest that was tuned; zero for default_choice
  double time_ms = 0;                   // measured where the match is exact, else predicted
};
