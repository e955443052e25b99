#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>

namespace detail {

using fcsa::kernels::Args;
using fcsa::kernels::Bias;
using fcsa::kernels::LaunchPlan;
using fcsa::kernels::Model;
using fcsa::kernels::Position;
using fcsa::kernels::Softmax;
using fcsa::kernels::Traits;

// A tuned shape.
struct Shape {
  int nq, nk, batch, heads, kv_heads;
  Layout layout;
  int variant;     // index into the kernels of the instruction set or architecture
  double time_ms;  // measured
};

// Problems with equal traits, and the parts of the arrays below that are theirs.
struct Class {
  Traits traits;
  int first_shape, shapes;
  int default_variant;              // taken when there are no shapes
  int first_candidate, candidates;  // what other shapes choose among
  int first_correction;
};

// What fcsa::kernels::Rule says of positions, models and corrections.
struct Table {
  const Class* classes;
  int class_count;
  const Shape* shapes;
  const Position* positions;  // of the shapes
  const Model* models;        // of the candidates
  const int* variants;        // of the candidates
  const float* corrections;
  int multiprocessors;  // of the device that it was tuned on
};

struct Choice {
  const Class* of = nullptr;     // null: no kernel
  const Shape* shape = nullptr;  // this one where it was tuned, else the nearest. Null: default
  int variant = 0;
  double time_ms = 0;  // measured where it was tuned, else predicted
};

// Of the current device (CPU: cores); `tuned` when there is none. Defined with what launches.
inline int multiprocessors_or(int tuned);

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
inline Status
failure(Code code, const char* format, ...) {
  Status status;
  status.code = code;
  va_list values;
  va_start(values, format);
  std::vsnprintf(status.text, sizeof(status.text), format, values);
  va_end(values);
  return status;
}

inline const char* name_of(DType dtype) {
  return dtype == DType::f32 ? "f32" : dtype == DType::bf16 ? "bf16" : "f16";
}

inline float bound_of(const Attention& a) {
  return a.logit_bound > 0 ? a.logit_bound : std::fabs(a.scale) * static_cast<float>(a.groups);
}

// The largest exponentials fit the arithmetic up to these bounds; beyond them the running maximum is kept.
inline bool bound_is_known(const Attention& a) {
  const bool known = a.logit_bound > 0 || (a.l2norm_qk && a.bias == nullptr && a.head_scale == nullptr);
  return known && bound_of(a) <= (a.dtype == DType::f16 ? 10.0f : 43.0f);
}

inline Bias bias_of(const Attention& a) {
  if (a.bias == nullptr) return Bias::none;
  return a.bias_dtype == a.dtype ? Bias::same : Bias::f32;
}

inline Traits traits_of(const Attention& a) {
  Traits traits;
  traits.dtype = a.dtype;
  traits.head_dim = a.head_dim;
  traits.causal = a.causal;
  traits.key_mask = a.key_mask != nullptr;
  traits.bias = bias_of(a);
  traits.head_scale = a.head_scale != nullptr;
  traits.l2norm_qk = a.l2norm_qk;
  traits.groups = a.groups;
  traits.tf32 = a.allow_tf32 && a.dtype == DType::f32;
  traits.softmax = bound_is_known(a) ? Softmax::fixed_bound : Softmax::running_maximum;
  return traits;
}

inline Strides strides_or_dense(const Strides& given, Layout layout, int heads, int rows, int channels) {
  if (given.batch != 0 || given.head != 0 || given.row != 0) return given;
  const long long h = heads, n = rows, d = channels;
  if (layout == Layout::bhnd) return {h * n * d, n * d, d};
  return {n * h * d, d, h * d};
}

inline Args args_of(const Attention& a) {
  Args args;
  args.q = a.q;
  args.k = a.k;
  args.v = a.v;
  args.o = a.o;
  args.lse = a.lse;
  args.key_mask = a.key_mask;
  args.bias = a.bias;
  args.head_scale = a.head_scale;
  args.q_strides = strides_or_dense(a.q_strides, a.layout, a.heads, a.nq, a.head_dim);
  args.k_strides = strides_or_dense(a.k_strides, a.layout, a.kv_heads, a.nk, a.head_dim);
  args.v_strides = strides_or_dense(a.v_strides, a.layout, a.kv_heads, a.nk, a.head_dim);
  args.o_strides = strides_or_dense(a.o_strides, a.layout, a.heads, a.nq, a.head_dim);
  args.bias_batch = a.bias_batch != 0 ? a.bias_batch : a.batch;
  args.bias_heads = a.bias_heads != 0 ? a.bias_heads : a.heads;
  args.bias_strides = strides_or_dense(a.bias_strides, Layout::bhnd, args.bias_heads, a.nq, a.nk);
  args.key_mask_stride = a.key_mask_stride < 0 ? a.nk : a.key_mask_stride;
  args.batch = a.batch;
  args.heads = a.heads;
  args.kv_heads = a.kv_heads;
  args.nq = a.nq;
  args.nk = a.nk;
  args.scale = a.scale;
  args.bound = bound_of(a);
  args.eps = a.eps;
  return args;
}

inline Status check_bias(const Attention& a) {
  if (a.bias == nullptr) return {};
  if (a.bias_dtype != DType::f32 && a.bias_dtype != a.dtype)
    return failure(Code::invalid_argument, "bias_dtype is %s: it must be f32 or dtype, which is %s",
                   name_of(a.bias_dtype), name_of(a.dtype));
  if (a.bias_batch < 0 || (a.bias_batch > 0 && a.batch % a.bias_batch != 0))
    return failure(Code::invalid_argument, "bias_batch is %d: it must divide batch, which is %d",
                   a.bias_batch, a.batch);
  if (a.bias_heads != 0 && a.bias_heads != 1 && a.bias_heads != a.heads)
    return failure(Code::invalid_argument, "bias_heads is %d: it must be 1 or heads, which is %d",
                   a.bias_heads, a.heads);
  return {};
}

inline Status check_sizes(const Attention& a) {
  const struct {
    const char* name;
    int value;
  } sizes[] = {{"batch", a.batch}, {"heads", a.heads},       {"kv_heads", a.kv_heads}, {"nq", a.nq},
               {"nk", a.nk},       {"head_dim", a.head_dim}, {"groups", a.groups}};
  for (const auto& size : sizes) {
    if (size.value < 1)
      return failure(Code::invalid_argument, "%s is %d: it must be at least 1", size.name, size.value);
  }
  if (a.heads % a.kv_heads != 0)
    return failure(Code::invalid_argument,
                   "heads is %d and kv_heads %d: heads must be a multiple of kv_heads", a.heads, a.kv_heads);
  if (!std::isfinite(a.scale))
    return failure(Code::invalid_argument, "scale is %g: it must be finite", static_cast<double>(a.scale));
  if (!std::isfinite(a.logit_bound))
    return failure(Code::invalid_argument, "logit_bound is %g: it must be finite",
                   static_cast<double>(a.logit_bound));
  return check_bias(a);
}

inline Status check_tensor(const char* name, const void* data, const Strides& strides, DType dtype) {
  if (data == nullptr) return failure(Code::invalid_argument, "%s is null", name);
  if (reinterpret_cast<std::uintptr_t>(data) % 16 != 0)
    return failure(Code::invalid_argument, "%s is not aligned to 16 bytes", name);
  const long long unit = 16 / fcsa::kernels::element_bytes(dtype);
  if (strides.batch % unit != 0 || strides.head % unit != 0 || strides.row % unit != 0)
    return failure(
        Code::invalid_argument,
        "%s has strides %lld, %lld, %lld elements (batch, head, row): each must be a multiple of %lld, "
        "which is 16 bytes",
        name, strides.batch, strides.head, strides.row, unit);
  return {};
}

inline Status check_tensors(const Attention& a, const Args& args) {
  const struct {
    const char* name;
    const void* data;
    const Strides& strides;
  } tensors[] = {{"q", args.q, args.q_strides},
                 {"k", args.k, args.k_strides},
                 {"v", args.v, args.v_strides},
                 {"o", args.o, args.o_strides}};
  for (const auto& tensor : tensors) {
    const Status status = check_tensor(tensor.name, tensor.data, tensor.strides, a.dtype);
    if (!status.ok()) return status;
  }
  const std::uintptr_t bias_bytes = fcsa::kernels::element_bytes(a.bias_dtype);
  if (reinterpret_cast<std::uintptr_t>(a.bias) % bias_bytes != 0)
    return failure(Code::invalid_argument, "bias is not aligned to its elements");
  if (reinterpret_cast<std::uintptr_t>(a.head_scale) % sizeof(float) != 0)
    return failure(Code::invalid_argument, "head_scale is not aligned to its elements");
  return {};
}

// Of these traits; else of others that are right for the same problems: the running maximum is wherever the
// fixed bound is, and exact products are wherever TF32 is allowed.
inline const Class* find_class(const Table& table, Traits traits) {
  const Softmax softmaxes[] = {traits.softmax, Softmax::running_maximum};
  const bool tf32s[] = {traits.tf32, false};
  for (const bool tf32 : tf32s)
    for (const Softmax softmax : softmaxes) {
      traits.tf32 = tf32;
      traits.softmax = softmax;
      for (int i = 0; i < table.class_count; ++i)
        if (table.classes[i].traits == traits) return &table.classes[i];
    }
  return nullptr;
}

inline bool same_shape(const Shape& shape, const Attention& a) {
  return shape.nq == a.nq && shape.nk == a.nk && shape.batch == a.batch && shape.heads == a.heads &&
         shape.kv_heads == a.kv_heads && shape.layout == a.layout;
}

inline const Shape* tuned_shape(const Table& table, const Class& of, const Attention& a) {
  for (int i = 0; i < of.shapes; ++i) {
    const Shape& shape = table.shapes[of.first_shape + i];
    if (same_shape(shape, a)) return &shape;
  }
  return nullptr;
}

// A tuned shape has its own kernel; another one that which the rule predicts to be the fastest.
inline Choice choose(const Table& table, const Attention& a) {
  Choice choice;
  choice.of = find_class(table, traits_of(a));
  if (choice.of == nullptr) return choice;
  const Class& of = *choice.of;
  choice.variant = of.default_variant;
  if (of.shapes == 0) return choice;
  choice.shape = tuned_shape(table, of, a);
  if (choice.shape != nullptr) {
    choice.variant = choice.shape->variant;
    choice.time_ms = choice.shape->time_ms;
    return choice;
  }
  const fcsa::kernels::Rule rule = {table.models + of.first_candidate, of.candidates,
                                    table.positions + of.first_shape, of.shapes,
                                    table.corrections + of.first_correction};
  const fcsa::kernels::Sizes sizes = {a.batch, a.heads, a.kv_heads, a.nq, a.nk, a.causal};
  const auto prediction = fcsa::kernels::predict(rule, sizes, multiprocessors_or(table.multiprocessors));
  choice.shape = &table.shapes[of.first_shape + prediction.nearest];
  choice.variant = table.variants[of.first_candidate + prediction.model];
  choice.time_ms = prediction.ms;
  return choice;
}

inline Status no_kernel(const Attention& a) {
  const Bias bias = bias_of(a);
  char groups[32] = "";
  if (a.groups != 1) std::snprintf(groups, sizeof(groups), " --groups %d", a.groups);
  return failure(
      Code::unsupported,
      "no kernel for this: run `fcsa tune --dtype %s --head-dim %d --causal %s%s%s%s%s%s` and emit "
      "again; this header serves %s",
      name_of(a.dtype), a.head_dim, a.causal ? "yes" : "no", groups, a.key_mask ? " --mask yes" : "",
      a.l2norm_qk ? "" : " --no-l2norm",
      bias == Bias::none   ? ""
      : bias == Bias::same ? " --bias same"
                           : " --bias f32",
      a.head_scale ? " --head-scale yes" : "", kServes);
}

inline Selection selection_of(const Choice& choice, const Attention& a, const char* configuration) {
  Selection selection;
  selection.configuration = configuration;
  if (const Shape* shape = choice.shape; shape != nullptr) {
    selection.match = same_shape(*shape, a) ? Match::exact : Match::nearest;
    selection.nq = shape->nq;
    selection.nk = shape->nk;
    selection.batch_heads = shape->batch * shape->heads;
    selection.time_ms = choice.time_ms;
  }
  return selection;
}

inline std::size_t round_up_256(long long bytes) {
  return (static_cast<std::size_t>(bytes) + 255) / 256 * 256;
}

// The kernels' own workspace, then lse when the caller has no use for it.
inline std::size_t workspace_of(const Attention& a, const LaunchPlan& plan) {
  if (a.lse != nullptr) return static_cast<std::size_t>(plan.workspace_bytes);
  return round_up_256(plan.workspace_bytes) + sizeof(float) * a.batch * a.heads * a.nq;
}

inline Status place_workspace(const Attention& a, const LaunchPlan& plan, void* workspace, Args& args) {
  const std::size_t bytes = workspace_of(a, plan);
  if (bytes == 0) return {};
  if (workspace == nullptr)
    return failure(Code::invalid_argument, "workspace is null: this problem needs %zu bytes%s", bytes,
                   a.lse == nullptr ? " (less when lse is given)" : "");
  if (reinterpret_cast<std::uintptr_t>(workspace) % 256 != 0)
    return failure(Code::invalid_argument, "workspace is not aligned to 256 bytes");
  args.workspace = workspace;
  if (a.lse == nullptr)
    args.lse =
        reinterpret_cast<float*>(static_cast<unsigned char*>(workspace) + round_up_256(plan.workspace_bytes));
  return {};
}

}  // namespace detail
