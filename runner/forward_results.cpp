#include "runner/forward_results.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "kernels/reference/parallel_for.h"
#include "kernels/reference/reference.h"

namespace fcsa::runner {
namespace {

using kernels::RowIndex;
using kernels::RowResults;

constexpr int kSample = 256;
constexpr int kRowsPerBlock = 64;

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

  void estimate(const Block& block) {
    const std::vector<int> keys = sample(block);
    std::vector<RowIndex> rows;
    for (int i = 0; i < block.count; ++i) rows.push_back({0, 0, i});
    kernels::Traits traits = traits_;
    traits.causal = traits.key_mask = false;
    const std::vector<char> k = gathered_rows(args_.k, args_.k_strides, block, keys),
                            v = gathered_rows(args_.v, args_.v_strides, block, keys),
                            bias = gathered_bias(block, keys);
    kernels::Args args = sampled_args(block, static_cast<int>(keys.size()));
    args.k = k.data();
    args.v = v.data();
    args.bias = bias.data();
    RowResults results = kernels::reference_rows(traits, args, rows, 1);
    for (int i = 0; i < block.count; ++i)
      results.lse[static_cast<std::size_t>(i)] += std::log(
          static_cast<double>(seen(block.batch, block.first + i)) / static_cast<double>(keys.size()));
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

  // The block's queries as a problem of one head whose keys are the sample.
  kernels::Args sampled_args(const Block& block, int keys) const {
    const kernels::Strides& s = args_.q_strides;
    kernels::Args args = args_;
    args.q = static_cast<const char*>(args_.q) +
             (block.batch * s.batch + block.head * s.head + block.first * s.row) *
                 kernels::element_bytes(problem_.dtype);
    args.q_strides = {0, 0, s.row};
    args.k_strides = args.v_strides = {0, 0, problem_.head_dim};
    args.bias_strides = {0, 0, keys};
    if (traits_.head_scale) args.head_scale += block.head;
    args.batch = args.heads = args.kv_heads = args.bias_batch = args.bias_heads = 1;
    args.nq = block.count;
    args.nk = keys;
    return args;
  }

  std::vector<char> gathered_rows(const void* data, const kernels::Strides& s, const Block& block,
                                  const std::vector<int>& keys) const {
    const int element = kernels::element_bytes(problem_.dtype);
    const long long first =
        block.batch * s.batch + block.head / (problem_.heads / problem_.kv_heads) * s.head;
    const auto width = static_cast<std::size_t>(problem_.head_dim * element);
    std::vector<char> rows(keys.size() * width);
    for (std::size_t i = 0; i < keys.size(); ++i)
      std::memcpy(&rows[i * width], static_cast<const char*>(data) + (first + keys[i] * s.row) * element,
                  width);
    return rows;
  }

  std::vector<char> gathered_bias(const Block& block, const std::vector<int>& keys) const {
    if (problem_.bias == kernels::Bias::none) return {};
    const auto element = static_cast<std::size_t>(
        problem_.bias == kernels::Bias::f32 ? 4 : kernels::element_bytes(problem_.dtype));
    const kernels::Strides& s = args_.bias_strides;
    const long long first = block.batch % args_.bias_batch * s.batch +
                            (args_.bias_heads == 1 ? 0 : block.head) * s.head + block.first * s.row;
    std::vector<char> bias(static_cast<std::size_t>(block.count) * keys.size() * element);
    char* to = bias.data();
    for (int row = 0; row < block.count; ++row)
      for (const int key : keys) {
        const auto index = static_cast<std::size_t>(first + row * s.row + key);
        std::memcpy(to, static_cast<const char*>(args_.bias) + index * element, element);
        to += element;
      }
    return bias;
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

// Standard deviation of the logits of a row, of normal values.
double logit_spread(const kernels::Problem& p) {
  const double scale = std::fabs(p.scale), root = std::sqrt(p.head_dim);
  const double raw = p.logit_bound ? std::min<double>(scale * root, *p.logit_bound / root) : scale * root;
  const double products = p.l2norm_qk ? scale * p.groups / root : raw;
  return std::hypot(products, p.bias == kernels::Bias::none ? 0.0 : 1.0);
}

}  // namespace

ForwardPrecision precision_for(const kernels::Problem& problem, Values values) {
  // At this spread the largest P that follows from estimates is still below 100, in rows by the million.
  constexpr double kWidestSpread = 2.5;
  kernels::Problem forward = problem;
  forward.op = kernels::Op::forward;
  forward.bias_gradient = forward.scale_gradient = false;
  const bool large = kernels::flops(forward) > kExactForwardFlops;
  return values == Values::normal && large && logit_spread(problem) <= kWidestSpread
             ? ForwardPrecision::estimated
             : ForwardPrecision::exact;
}

void add_forward_results(HostInputs& inputs, ForwardPrecision precision) {
  const kernels::Problem& p = inputs.problem;
  inputs.o.resize(inputs.q.size());
  inputs.lse.resize(static_cast<std::size_t>(p.batch) * p.heads * p.nq);
  ForwardPass(inputs, precision).run();
}

}  // namespace fcsa::runner
