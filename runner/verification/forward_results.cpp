#include "runner/verification/forward_results.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/reference/elements.h"
#include "kernels/reference/parallel_for.h"
#include "kernels/reference/reference.h"

namespace fcsa::runner {
namespace {

using kernels::RowIndex;
using kernels::RowResults;

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr int kSample = 256;
constexpr int kRowsPerBlock = 256;

// Keys of each batch that the mask leaves visible, ascending.
std::vector<std::vector<int>> visible_keys(const HostInputs& inputs) {
  const auto nk = static_cast<std::size_t>(inputs.problem.nk);
  std::vector<std::vector<int>> visible(static_cast<std::size_t>(inputs.problem.batch));
  for (std::size_t batch = 0; batch < visible.size(); ++batch)
    for (std::size_t key = 0; key < nk; ++key)
      if (inputs.key_mask.empty() || inputs.key_mask[batch * nk + key] != 0)
        visible[batch].push_back(static_cast<int>(key));
  return visible;
}

// Some neighbouring rows of one head.
struct Block {
  int batch, head, first, count;
};

class ForwardPass {
 public:
  ForwardPass(HostInputs& inputs, ForwardPrecision precision)
      : inputs_(inputs),
        problem_(inputs.problem),
        traits_(kernels::traits_of(inputs.problem)),
        args_(inputs.args()),
        precision_(precision),
        visible_(visible_keys(inputs)) {}

  void run() {
    const std::size_t blocks = static_cast<std::size_t>(kernels::ceil_div(problem_.nq, kRowsPerBlock));
    const auto heads = static_cast<std::size_t>(problem_.heads);
    kernels::parallel_for(problem_.batch * heads * blocks, [&](std::size_t i) {
      const int first = static_cast<int>(i % blocks) * kRowsPerBlock;
      solve({static_cast<int>(i / blocks / heads), static_cast<int>(i / blocks % heads), first,
             std::min(kRowsPerBlock, problem_.nq - first)});
    });
  }

 private:
  // How many keys a row sees.
  std::size_t seen(int batch, int row) const {
    const auto& keys = visible_[static_cast<std::size_t>(batch)];
    const long long end = kernels::visibility_of(problem_).keys_of(row).end;
    return static_cast<std::size_t>(std::lower_bound(keys.begin(), keys.end(), end) - keys.begin());
  }

  void solve(const Block& block) {
    const bool few = seen(block.batch, block.first + block.count - 1) <= kSample;
    if (few || precision_ == ForwardPrecision::exact) {
      std::vector<RowIndex> rows;
      for (int i = 0; i < block.count; ++i) rows.push_back({block.batch, block.head, block.first + i});
      return store(block, kernels::reference_rows(traits_, args_, rows, 1));
    }
    estimate(block);
  }

  // In f32: an estimate is not exact anyway.
  void estimate(const Block& block) {
    const std::vector<int> keys = sample(block);
    const int kv_head = block.head / (problem_.heads / problem_.kv_heads);
    std::vector<int> queries(static_cast<std::size_t>(block.count));
    std::iota(queries.begin(), queries.end(), block.first);
    const auto rows = [&](const void* data, const kernels::Strides& s, int head,
                          const std::vector<int>& which) {
      return gathered(data, block.batch * s.batch + head * s.head, s.row, which);
    };
    Matrix q = rows(args_.q, args_.q_strides, block.head, queries);
    Matrix k = rows(args_.k, args_.k_strides, kv_head, keys);
    const Matrix v = rows(args_.v, args_.v_strides, kv_head, keys);
    if (problem_.l2norm_qk) {
      normalise(q);
      normalise(k);
    }
    Matrix s = q * k.transpose() * (traits_.head_scale ? args_.head_scale[block.head] : args_.scale);
    add_bias(s, block, keys);
    const Eigen::VectorXf top = s.rowwise().maxCoeff();
    s = (s.colwise() - top).array().exp().matrix();
    const Eigen::VectorXf sum = s.rowwise().sum();
    const Matrix o = sum.cwiseInverse().asDiagonal() * (s * v);
    RowResults results;
    results.o.assign(o.data(), o.data() + o.size());
    for (int i = 0; i < block.count; ++i)
      results.lse.push_back(top[i] + std::log(static_cast<double>(sum[i]) *
                                              static_cast<double>(seen(block.batch, block.first + i)) /
                                              static_cast<double>(keys.size())));
    store(block, results);
  }

  // Keys that all rows of the block see.
  std::vector<int> sample(const Block& block) const {
    const std::size_t common = seen(block.batch, block.first), count = std::min<std::size_t>(common, kSample);
    std::vector<int> keys;
    for (std::size_t i = 0; i < count; ++i)
      keys.push_back(visible_[static_cast<std::size_t>(block.batch)][i * common / count]);
    return keys;
  }

  Matrix gathered(const void* data, long long first, long long stride, const std::vector<int>& rows) const {
    Matrix matrix(static_cast<Eigen::Index>(rows.size()), problem_.head_dim);
    for (std::size_t i = 0; i < rows.size(); ++i)
      kernels::load_elements(problem_.dtype, data, first + rows[i] * stride, problem_.head_dim,
                             matrix.row(static_cast<Eigen::Index>(i)).data());
    return matrix;
  }

  void normalise(Matrix& rows) const {
    const Eigen::Index width = problem_.head_dim / problem_.groups;
    for (int group = 0; group < problem_.groups; ++group) {
      auto part = rows.middleCols(group * width, width);
      part.array().colwise() /= part.rowwise().norm().array().max(args_.eps).eval();
    }
  }

  void add_bias(Matrix& s, const Block& block, const std::vector<int>& keys) const {
    if (problem_.bias == kernels::Bias::none) return;
    const kernels::DType dtype = problem_.bias == kernels::Bias::f32 ? kernels::DType::f32 : problem_.dtype;
    const kernels::Strides& strides = args_.bias_strides;
    const long long first = block.batch % args_.bias_batch * strides.batch +
                            (args_.bias_heads == 1 ? 0 : block.head) * strides.head;
    for (int row = 0; row < block.count; ++row)
      for (std::size_t key = 0; key < keys.size(); ++key) {
        float bias = 0;
        kernels::load_elements(dtype, args_.bias, first + (block.first + row) * strides.row + keys[key], 1,
                               &bias);
        s(row, static_cast<Eigen::Index>(key)) += bias;
      }
  }

  void store(const Block& block, const RowResults& results) {
    const kernels::Strides& s = args_.o_strides;
    const auto dim = static_cast<std::size_t>(problem_.head_dim);
    for (int i = 0; i < block.count; ++i) {
      const auto row = static_cast<std::size_t>(i);
      const long long first = block.batch * s.batch + block.head * s.head + (block.first + i) * s.row;
      for (std::size_t d = 0; d < dim; ++d)
        kernels::store_element(problem_.dtype, inputs_.o.data(), first + static_cast<long long>(d),
                               static_cast<float>(results.o[row * dim + d]));
      inputs_.lse[(static_cast<std::size_t>(block.batch) * problem_.heads + block.head) * problem_.nq +
                  block.first + row] = static_cast<float>(results.lse[row]);
    }
  }

  HostInputs& inputs_;
  const kernels::Problem& problem_;
  kernels::Traits traits_;
  kernels::BackwardArgs args_;
  ForwardPrecision precision_;
  std::vector<std::vector<int>> visible_;
};

// Standard deviation of the products of a row of normal q and k, times the scale.
double product_spread(const kernels::Problem& p) {
  const double scale = std::fabs(p.scale), root = std::sqrt(p.head_dim);
  if (p.l2norm_qk) return scale * p.groups / root;
  return p.logit_bound ? std::min<double>(scale * root, *p.logit_bound / root) : scale * root;
}

bool is_large(const kernels::Problem& problem) {
  kernels::Problem forward = problem;
  forward.op = kernels::Op::forward;
  forward.bias_gradient = forward.scale_gradient = false;
  return kernels::flops(forward) > kExactForwardFlops;
}

}  // namespace

float moderating_factor(const kernels::Problem& p, Values values) {
  if (p.op != kernels::Op::backward || p.l2norm_qk || values != Values::normal || !is_large(p)) return 1.0f;
  // As of normal values with the usual scale, 1 / sqrt(D). No P that follows from an estimate is above 1
  // then, which kernels with a running maximum would take as 1.
  constexpr double kUsualSpread = 1;
  return static_cast<float>(std::sqrt(std::min(1.0, kUsualSpread / product_spread(p))));
}

ForwardPrecision precision_for(const kernels::Problem& p, Values values) {
  // At this spread the largest P that follows from estimates is still below 100, in rows by the million.
  constexpr double kWidestSpread = 2.5;
  const double bias = p.bias == kernels::Bias::none ? 0.0 : 1.0;
  const bool moderate = !p.l2norm_qk || std::hypot(product_spread(p), bias) <= kWidestSpread;
  return values == Values::normal && is_large(p) && moderate ? ForwardPrecision::estimated
                                                             : ForwardPrecision::exact;
}

void add_forward_results(HostInputs& inputs, ForwardPrecision precision) {
  const kernels::Problem& p = inputs.problem;
  inputs.o.resize(inputs.q.size());
  inputs.lse.resize(static_cast<std::size_t>(p.batch) * p.heads * p.nq);
  ForwardPass(inputs, precision).run();
}

}  // namespace fcsa::runner
