// Problems with random tensors, what runs them, and a comparison with double precision. Conventions as in
// attention_formula.h.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>

#include "attention_formula.h"
#include "check_gradients.h"

namespace check {

// Between -3 and 3 in sixteenths, which every type holds exactly: 16-bit types get the same numbers as f32.
inline std::vector<unsigned char> random_tensor(int dtype, std::size_t count, unsigned seed) {
  std::vector<unsigned char> data(count * element_bytes(dtype));
  std::mt19937 random(seed);
  for (std::size_t i = 0; i < count; ++i) {
    const float value = (static_cast<float>(random() % 97) - 48) / 16;
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    std::uint16_t half = static_cast<std::uint16_t>(bits >> 16);
    if (!is_bf16(dtype) && value != 0)
      half = static_cast<std::uint16_t>((bits >> 16 & 0x8000) | ((bits >> 23 & 255) - 112) << 10 |
                                        (bits >> 13 & 1023));
    if (is_f32(dtype))
      std::memcpy(&data[4 * i], &value, 4);
    else
      std::memcpy(&data[2 * i], &half, 2);
  }
  return data;
}

// Three quarters of the keys visible.
inline std::vector<unsigned char> random_mask(std::size_t count, unsigned seed) {
  std::vector<unsigned char> mask(count);
  std::mt19937 random(seed);
  for (auto& visible : mask) visible = random() % 4 != 0;
  return mask;
}

// What rounding inputs and outputs to the type may cost.
inline double tolerance(int dtype) {
  return is_f32(dtype) ? 5e-5 : is_bf16(dtype) ? 8e-3 : 1.5e-3;
}

// Of the forward pass 4 * batch * heads * nq * nk * head_dim, half of it when causal; 2.5 times that
// backward.
template <typename Attention>
double flops(const Attention& a, bool backward) {
  return (backward ? 2.5 : 1.0) * (a.causal ? 2.0 : 4.0) * a.batch * a.heads * a.nq * a.nk * a.head_dim;
}

struct Features {
  bool masked = false, biased = false, head_scaled = false;
};

// A problem with random tensors in host memory.
template <typename Attention>
class HostProblem {
 public:
  HostProblem(const Attention& sizes, const Features& features) : attention_(sizes) {
    Attention& a = attention_;
    const int dtype = static_cast<int>(a.dtype);
    const std::size_t rows = static_cast<std::size_t>(a.batch) * a.heads * a.nq,
                      keys = static_cast<std::size_t>(a.batch) * a.kv_heads * a.nk;
    a.q = keep(random_tensor(dtype, rows * a.head_dim, 1));
    a.k = keep(random_tensor(dtype, keys * a.head_dim, 2));
    a.v = keep(random_tensor(dtype, keys * a.head_dim, 3));
    a.o = keep(std::vector<unsigned char>(rows * a.head_dim * element_bytes(dtype)));
    a.lse = reinterpret_cast<float*>(keep(std::vector<unsigned char>(rows * 4)));
    a.dout = keep(random_tensor(dtype, rows * a.head_dim, 7));
    a.dq = keep(std::vector<unsigned char>(rows * a.head_dim * element_bytes(dtype)));
    a.dk = keep(std::vector<unsigned char>(keys * a.head_dim * element_bytes(dtype)));
    a.dv = keep(std::vector<unsigned char>(keys * a.head_dim * element_bytes(dtype)));
    if (features.masked) a.key_mask = keep(random_mask(static_cast<std::size_t>(a.batch) * a.nk, 4));
    if (features.head_scaled) a.head_scale = reinterpret_cast<float*>(keep(random_tensor(0, a.heads, 5)));
    if (!features.biased) return;
    a.bias_batch = 1;
    a.bias = keep(
        random_tensor(static_cast<int>(a.bias_dtype), static_cast<std::size_t>(a.heads) * a.nq * a.nk, 6));
  }
  HostProblem(const HostProblem&) = delete;
  HostProblem& operator=(const HostProblem&) = delete;
  const Attention& attention() const { return attention_; }

 private:
  unsigned char* keep(std::vector<unsigned char> bytes) {
    tensors_.push_back(std::move(bytes));
    return tensors_.back().data();
  }

  std::vector<std::vector<unsigned char>> tensors_;
  Attention attention_;
};

// Runs problems one after the other, and counts. `Op` is that of the tuned header.
template <typename Attention, typename Op>
class Checker {
 public:
  // Computes a problem in host memory, and returns the time in ms, or a negative number when it failed.
  using Run = std::function<double(const Attention&, Op)>;
  explicit Checker(Run run) : run_(std::move(run)) {}

  void check(const Attention& sizes, const Features& features = {}) {
    const HostProblem<Attention> problem(sizes, features);
    const Attention& a = problem.attention();
    if (check_pass(a, Op::forward)) check_pass(a, Op::backward);
  }

  // Every feature, alone or with others, at lengths that hardly anybody tunes.
  void check_length(Attention a, int length) {
    a.nq = a.nk = length;
    a.kv_heads = a.heads;
    check(a);
    Attention causal = a;
    causal.causal = true;
    check(causal);
    // Several query heads for each key/value head, more keys than queries, axes as most frameworks have them.
    Attention grouped = causal;
    grouped.batch = 2;
    grouped.kv_heads = a.heads / 2;
    grouped.nq = length / 2 + 1;
    grouped.layout = decltype(a.layout)::bnhd;
    check(grouped);
    grouped.causal = false;
    check(grouped, {.masked = true});
    grouped.heads = 3 * grouped.kv_heads;
    check(grouped, {.masked = true});
    check(a, {.biased = true});
    check(a, {.head_scaled = true});
    check(a, {.biased = true, .head_scaled = true});
    Attention special = a;
    special.groups = 2;
    check(special);
    special.groups = 1;
    special.l2norm_qk = false;
    special.scale = 0.125f;
    check(special);
  }

  int exit_status() const {
    std::printf("%d right, %d wrong\n", right_, wrong_);
    return right_ > 0 && wrong_ == 0 ? 0 : 1;
  }

 private:
  // False when the header doesn't serve it.
  bool check_pass(const Attention& a, Op op) {
    const auto selection = describe(a, op);
    if (selection.status.code == decltype(selection.status.code)::unsupported) return false;
    const bool backward = op == Op::backward;
    const double ms = run_(a, op);
    const double error = ms < 0     ? std::numeric_limits<double>::infinity()
                         : backward ? worst_gradient_error(a, 8)
                                    : worst_error(a, 32);
    // Logits, and what roundoff of q and k does to them, are as many times as large as there are groups.
    const bool right = error <= a.groups * tolerance(static_cast<int>(a.dtype));
    ++(right ? right_ : wrong_);
    const char* dtype = is_f32(static_cast<int>(a.dtype))    ? "f32"
                        : is_bf16(static_cast<int>(a.dtype)) ? "bf16"
                                                             : "f16";
    std::printf("%-4s d%-3d h%d/%d %5d x %-5d%s%s%s%s%s%s%s%s  %9.3f ms  %7.1f GFLOP/s  error %.1e  %s  %s\n",
                dtype, a.head_dim, a.heads, a.kv_heads, a.nq, a.nk, backward ? " backward" : "",
                a.causal ? " causal" : "", a.key_mask ? " masked" : "", a.bias ? " bias" : "",
                a.head_scale ? " head_scale" : "", a.l2norm_qk ? "" : " raw", a.groups > 1 ? " groups" : "",
                a.layout == decltype(a.layout)::bhnd ? "" : " bnhd", ms, flops(a, backward) / ms * 1e-6,
                error, right ? "ok" : "WRONG", selection.configuration);
    return true;
  }

  Run run_;
  int right_ = 0, wrong_ = 0;
};

// The lengths of the command line, for every dtype and common head dims. Returns the exit status.
template <typename Attention, typename Op>
int check_all(int argc, char** argv, const typename Checker<Attention, Op>::Run& run) {
  std::vector<int> lengths;
  for (int i = 1; i < argc; ++i) lengths.push_back(std::atoi(argv[i]));
  if (lengths.empty()) lengths = {333, 1000, 4097};
  Checker<Attention, Op> checker(run);
  for (const int length : lengths)
    for (const int dtype : {0, 1, 2})
      for (const int head_dim : {16, 32, 64, 80, 96, 128}) {
        Attention a;
        a.dtype = static_cast<decltype(a.dtype)>(dtype);
        a.head_dim = head_dim;
        a.heads = 4;
        checker.check_length(a, length);
      }
  return checker.exit_status();
}

}  // namespace check
