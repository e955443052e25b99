// Backward problems with data for the tests of the cpu family: runs kernels on them and compares with the
// fp64 reference.
#pragma once

#include <array>
#include <span>

#include "cpu_cases.h"
#include "kernels/reference/gradients.h"

namespace fcsa::kernels::cpu_cases {

// Errors of rows against the size that gradients.h gives for each: what is compared is row times norm.
struct Norms {
  std::span<const double> of_groups;  // [rows, groups]; empty: 1
  std::span<const double> sizes;      // [rows]
};

// The largest error of all rows, infinite when anything is not a number or should be exactly zero and isn't.
inline double worst_row(std::span<const double> actual, std::span<const double> expected,
                        const Norms& norms) {
  const std::size_t rows = norms.sizes.size(), width = rows == 0 ? 0 : expected.size() / rows;
  const std::size_t groups = norms.of_groups.empty() ? 1 : norms.of_groups.size() / rows;
  double worst = 0;
  for (std::size_t r = 0; r < rows; ++r) {
    double squares = 0;
    for (std::size_t d = 0; d < width; ++d) {
      const double norm = norms.of_groups.empty() ? 1.0 : norms.of_groups[r * groups + d / (width / groups)];
      const double difference = actual[r * width + d] - expected[r * width + d];
      const bool zero = norm == 0 || norms.sizes[r] == 0;
      squares += zero ? (difference == 0 ? 0 : HUGE_VAL) : difference * norm * difference * norm;
    }
    if (!(squares < HUGE_VAL)) return HUGE_VAL;
    if (squares > 0) worst = std::max(worst, std::sqrt(squares) / norms.sizes[r]);
  }
  return worst;
}

class GradientCase : public Case {
 public:
  explicit GradientCase(const Problem& problem, const Values& values = {})
      : Case(problem, values), o_(bytes_of(problem.heads, problem.nq)), dout_(o_.size()) {
    std::mt19937 random(11);
    fill(dout_, rows(problem.heads, problem.nq), random, Values{});
    if (values.poison) poison_blind_rows(dout_);
    args_ = inputs();
    const RowResults forward = reference_rows(traits_of(problem), args_, rows_of(problem.heads, problem.nq));
    for (const double lse : forward.lse) lse_.push_back(static_cast<float>(lse));
    args_.o = o_.data(), args_.dout = dout_.data(), args_.lse = lse_.data();
    const auto dim = static_cast<std::size_t>(problem.head_dim);
    std::size_t r = 0;
    for (const auto& [b, h, i] : rows_of(problem.heads, problem.nq)) {
      const Strides& s = args_.o_strides;
      for (std::size_t d = 0; d < dim; ++d)
        store_element(problem.dtype, o_.data(),
                      b * s.batch + h * s.head + i * s.row + static_cast<long long>(d),
                      static_cast<float>(forward.o[r * dim + d]));
      ++r;
    }
  }

  BackwardArgs args() const { return args_; }
  void use_bias(const void* bias) { args_.bias = bias; }

  // Gradients, each behind its own guard.
  struct Written {
    std::array<Storage, 5> tensors;
    BackwardArgs args;
  };

  // Runs the functions with the plan on so many threads.
  Written run(const LaunchPlan& plan, const std::vector<cpu::TaskFunction>& functions, int threads = 2) {
    Written to{
        {Storage(bytes_of(problem_.heads, problem_.nq)), Storage(bytes_of(problem_.kv_heads, problem_.nk)),
         Storage(bytes_of(problem_.kv_heads, problem_.nk)), Storage(bias_bytes()),
         Storage(static_cast<std::size_t>(problem_.heads) * 4)},
        args_};
    Storage workspace(static_cast<std::size_t>(plan.workspace_bytes));
    to.args.workspace = workspace.data();
    to.args.dq = to.tensors[0].data(), to.args.dk = to.tensors[1].data(), to.args.dv = to.tensors[2].data();
    to.args.dbias = to.args.wants_dbias ? to.tensors[3].data() : nullptr;
    to.args.dscale = to.args.wants_dscale ? static_cast<float*>(to.tensors[4].data()) : nullptr;
    cpu::ThreadPool pool(threads);
    cpu::run_plan(pool, plan, to.args, functions.data());
    for (const Storage& tensor : to.tensors) EXPECT_TRUE(tensor.guard_is_intact()) << to_text(problem_);
    EXPECT_TRUE(workspace.guard_is_intact()) << to_text(problem_);
    return to;
  }

  // Every row of every gradient.
  void compare(const Written& written) const {
    const Traits traits = traits_of(problem_);
    const BackwardArgs& args = written.args;
    const GradientRows rows{.queries = rows_of(problem_.heads, problem_.nq),
                            .keys = rows_of(problem_.kv_heads, problem_.nk),
                            .bias = args.wants_dbias ? bias_rows() : std::vector<RowIndex>{},
                            .scale = args.wants_dscale};
    const Gradients expected = reference_gradients(traits, args, given_sums(traits, args), rows);
    const Gradients plain = plain_gradients(traits, args, rows);
    const int dim = problem_.head_dim;
    const auto read = [&](const void* data, const Strides& s, const std::vector<RowIndex>& list) {
      return read_rows(problem_.dtype, data, s, {list, dim});
    };
    expect_close("dq", read(args.dq, args.dq_strides, rows.queries), plain.dq, expected.dq,
                 {expected.query_norms, expected.dq_size});
    expect_close("dk", read(args.dk, args.dk_strides, rows.keys), plain.dk, expected.dk,
                 {expected.key_norms, expected.dk_size});
    expect_close("dv", read(args.dv, args.dv_strides, rows.keys), plain.dv, expected.dv,
                 {{}, expected.dv_size});
    if (args.wants_dbias)
      expect_close("dbias", read_rows(bias_dtype(), args.dbias, args.dbias_strides, {rows.bias, problem_.nk}),
                   plain.dbias, expected.dbias, {{}, expected.dbias_size});
    if (args.wants_dscale)
      expect_close("dscale", std::vector<double>(args.dscale, args.dscale + problem_.heads), plain.dscale,
                   expected.dscale, {{}, expected.dscale_size});
  }

 private:
  struct Wanted {
    const std::vector<RowIndex>& rows;
    int width;
  };

  std::vector<RowIndex> rows_of(int heads, int n) const { return list(problem_.batch, heads, n); }
  std::vector<RowIndex> bias_rows() const { return list(args_.bias_batch, args_.bias_heads, problem_.nq); }
  static std::vector<RowIndex> list(int batch, int heads, int n) {
    std::vector<RowIndex> rows;
    for (int b = 0; b < batch; ++b)
      for (int h = 0; h < heads; ++h)
        for (int i = 0; i < n; ++i) rows.push_back({b, h, i});
    return rows;
  }

  DType bias_dtype() const { return problem_.bias == Bias::same ? problem_.dtype : DType::f32; }
  std::size_t bias_bytes() const {
    if (!args_.wants_dbias) return 0;
    return bias_rows().size() * static_cast<std::size_t>(problem_.nk * element_bytes(bias_dtype()));
  }

  static std::vector<double> read_rows(DType dtype, const void* data, const Strides& s,
                                       const Wanted& wanted) {
    std::vector<double> values;
    for (const auto& [b, h, i] : wanted.rows)
      for (int d = 0; d < wanted.width; ++d)
        values.push_back(load_element(dtype, data, b * s.batch + h * s.head + i * s.row + d));
    return values;
  }

  void expect_close(const char* name, const std::vector<double>& actual, const std::vector<double>& plain,
                    const std::vector<double>& expected, const Norms& norms) const {
    double largest = 0;
    for (const float lse : lse_)
      if (std::isfinite(lse)) largest = std::max(largest, std::fabs(double{lse}));
    // Base 2 costs a rounding of every logit.
    const double allowed = 2 * worst_row(plain, expected, norms) + 2e-6 + 2e-7 * largest;
    EXPECT_LE(worst_row(actual, expected, norms), allowed) << name << " of " << to_text(problem_);
  }

  std::vector<unsigned char> o_, dout_;
  std::vector<float> lse_;
  BackwardArgs args_;
};

// Runs functions compiled for the traits of `problem` on every variation of its shape.
template <typename MakePlan>
void check_all_gradients(const Problem& problem, const std::vector<cpu::TaskFunction>& functions,
                         const MakePlan& plan) {
  for (const Variation& v : variations()) {
    // Of logits in the hundreds of thousands f32 has no digits left for P.
    if (!problem.l2norm_qk && v.values.magnitude > 100) continue;
    GradientCase c(with_shape(problem, v), v.values);
    c.compare(c.run(plan(c.args()), functions));
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace fcsa::kernels::cpu_cases
