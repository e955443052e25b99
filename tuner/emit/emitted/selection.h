#include <cstdio>

namespace detail {

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

// Of a backward pass, what traits don't say: what was asked for when it was tuned, or is asked for now.
struct Demands {
  bool bias_gradient = false, scale_gradient = false, deterministic = false;
  int index() const { return 2 * deterministic + bias_gradient; }
};

// Problems with equal traits and demands, and the parts of the arrays below that are theirs.
struct Class {
  Traits traits;
  int first_shape, shapes;
  int default_variant;              // taken when there are no shapes
  int first_candidate, candidates;  // what other shapes choose among
  int first_correction;
  Op op = Op::forward;
  Demands demands = {};
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
  const unsigned char* served;  // of the kernels: the demands that each serves, a bit for each index()
  int multiprocessors;          // of the device that it was tuned on
};

struct Choice {
  const Class* of = nullptr;     // null: no kernel
  const Shape* shape = nullptr;  // this one where it was tuned, else the nearest. Null: default
  int variant = 0;
  double time_ms = 0;  // measured where it was tuned, else predicted
};

// Of the current device (CPU: cores); `tuned` when there is none. Defined with what launches.
inline int multiprocessors_or(int tuned);

inline Demands demands_of(const Problem& p) {
  return {p.bias_gradient, p.scale_gradient, p.deterministic};
}

// In how much else than what is asked for a class was tuned.
inline int distance(const Demands& tuned, const Demands& asked) {
  return (asked.bias_gradient != tuned.bias_gradient) + (asked.scale_gradient != tuned.scale_gradient) +
         (asked.deterministic != tuned.deterministic);
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

// A tuned shape has its own kernel; another one that which the rule predicts to be the fastest; where that
// doesn't serve what is asked for, the next that does.
inline Choice choose_in(const Table& table, const Class& of, const Attention& a, const Problem& p) {
  const int asked = 1 << demands_of(p).index();
  const auto serves = [&](int variant) { return (table.served[variant] & asked) != 0; };
  Choice choice;
  choice.shape = tuned_shape(table, of, a);
  if (choice.shape != nullptr && serves(choice.shape->variant)) {
    choice.of = &of;
    choice.variant = choice.shape->variant;
    choice.time_ms = choice.shape->time_ms;
    return choice;
  }
  if (of.shapes == 0) {
    choice.of = serves(of.default_variant) ? &of : nullptr;
    choice.variant = of.default_variant;
    return choice;
  }
  const fcsa::kernels::Rule rule = {table.models + of.first_candidate, of.candidates,
                                    table.positions + of.first_shape, of.shapes,
                                    table.corrections + of.first_correction};
  const int* candidates = table.variants + of.first_candidate;
  const auto prediction = fcsa::kernels::predict(rule, p, multiprocessors_or(table.multiprocessors),
                                                 [&](int model) { return serves(candidates[model]); });
  if (prediction.model < 0) return {};
  choice.of = &of;
  choice.shape = &table.shapes[of.first_shape + prediction.nearest];
  choice.variant = candidates[prediction.model];
  choice.time_ms = prediction.ms;
  return choice;
}

// In the classes with these traits, those first that were tuned for the most alike.
inline Choice choose_with(const Table& table, const Traits& traits, const Attention& a, const Problem& p) {
  constexpr int kMostDifferences = 3;
  for (int differences = 0; differences <= kMostDifferences; ++differences)
    for (int i = 0; i < table.class_count; ++i) {
      const Class& c = table.classes[i];
      if (c.op != p.op || !(c.traits == traits) || distance(c.demands, demands_of(p)) != differences)
        continue;
      const Choice choice = choose_in(table, c, a, p);
      if (choice.of != nullptr) return choice;
    }
  return {};
}

// With the problem's traits; else with others that are right for the same problems: the running maximum is
// wherever the fixed bound is, and exact products are wherever TF32 is allowed.
inline Choice choose(const Table& table, const Attention& a, Op op) {
  const Problem p = problem_of(a, op);
  Traits traits = fcsa::kernels::traits_of(p);
  const Softmax softmaxes[] = {traits.softmax, Softmax::running_maximum};
  const bool tf32s[] = {traits.tf32, false};
  for (const bool tf32 : tf32s)
    for (const Softmax softmax : softmaxes) {
      traits.tf32 = tf32;
      traits.softmax = softmax;
      const Choice choice = choose_with(table, traits, a, p);
      if (choice.of != nullptr) return choice;
    }
  return {};
}

// A lookup of this thread.
struct Remembered {
  const Table* table = nullptr;
  int multiprocessors = 0;
  Problem problem;
  Choice choice;
};

// choose(), of tables that live as long as the program. A thread keeps its last lookups: programs have few
// problems, and call them again and again.
inline Choice choose_or_remember(const Table& table, const Attention& a, Op op) {
  constexpr unsigned kRemembered = 16;
  thread_local Remembered last[kRemembered];
  thread_local unsigned next = 0;
  const Problem problem = problem_of(a, op);
  const int multiprocessors = multiprocessors_or(table.multiprocessors);
  for (const Remembered& known : last)
    if (known.problem == problem && known.table == &table && known.multiprocessors == multiprocessors)
      return known.choice;
  const Choice choice = choose(table, a, op);
  if (choice.of != nullptr) last[next++ % kRemembered] = {&table, multiprocessors, problem, choice};
  return choice;
}

inline Status no_kernel(const Attention& a, Op op) {
  const Problem p = problem_of(a, op);
  char groups[32] = "";
  if (a.groups != 1) std::snprintf(groups, sizeof(groups), " --groups %d", a.groups);
  return failure(
      Code::unsupported,
      "no kernel for this: run `fcsa tune%s --dtype %s --head-dim %d --causal %s%s%s%s%s%s%s` and emit "
      "again%s; this header serves %s",
      op == Op::backward ? " --op fwd,bwd" : "", name_of(a.dtype), a.head_dim, a.causal ? "yes" : "no",
      groups, a.key_mask ? " --mask yes" : "", a.l2norm_qk ? "" : " --no-l2norm",
      p.bias == Bias::none   ? ""
      : p.bias == Bias::same ? " --bias same"
                             : " --bias f32",
      a.head_scale ? " --head-scale yes" : "", p.bias_gradient ? " --bias-gradient yes" : "",
      p.deterministic ? " without --tuned-only" : "", kServes[static_cast<int>(op)]);
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

}  // namespace detail
