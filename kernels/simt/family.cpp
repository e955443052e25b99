// The simt family: search space, constraints, baseline.
#include "kernels/config_fields.h"
#include "kernels/families.h"
#include "kernels/simt/backward_space.h"
#include "kernels/simt/config.h"

namespace fcsa::kernels {
namespace {

using simt::BackwardConfig;
using simt::ForwardConfig;

const std::vector<ConfigField<ForwardConfig>>& forward_fields() {
  static const std::vector<ConfigField<ForwardConfig>> fields = {
      {&ForwardConfig::warps, "warps", {1, 2, 4, 8}, "warps of a block"},
      {&ForwardConfig::lanes_m, "lanes_m", {2, 4, 8}, "rows of the lane grid; 32 / lanes_m columns"},
      {&ForwardConfig::thread_m, "thread_m", {2, 4, 8, 12, 16}, "query rows per lane"},
      {&ForwardConfig::thread_n, "thread_n", {4, 8, 12, 16}, "keys per lane"},
      {&ForwardConfig::stages, "stages", {1, 2, 3}, "K and V tiles in flight"},
      {&ForwardConfig::unroll, "unroll", {1, 2, 4}, "unrolling of the inner loops, in steps of 4 channels"},
      {&ForwardConfig::norm_prepass, "norm_prepass", {0, 1}, "1: key norms by a kernel of their own"},
      {&ForwardConfig::min_blocks,
       "min_blocks",
       {1, 2, 3, 4},
       "blocks per multiprocessor to leave registers for"},
      {&ForwardConfig::longest_first, "longest_first", {0, 1}, "causal: longest tiles start first"},
  };
  return fields;
}

ForwardConfig config_of(const Configuration& configuration) {
  return to_struct(forward_fields(), configuration);
}

BackwardConfig backward_config_of(const Configuration& configuration) {
  return to_struct(simt::backward_fields(), configuration);
}

class SimtFamily final : public Family {
 public:
  std::string name() const override { return "simt"; }
  DeviceKind device_kind() const override { return DeviceKind::cuda; }

  std::string unsupported(const Problem& problem, const Target& target) const override {
    if (std::string reason = Family::unsupported(problem, target); !reason.empty()) return reason;
    if (target.compute_capability < 75) return "simt needs compute capability 7.5 or later";
    return {};
  }

  std::vector<Parameter> parameters(Op op) const override {
    return op == Op::forward ? parameters_of(forward_fields()) : parameters_of(simt::backward_fields());
  }

  std::vector<Constraint> constraints(Op op) const override {
    if (op == Op::backward) return simt::backward_constraints();
    using P = const Problem&;
    using V = const ForwardConfig&;
    using D = const Target&;
    std::vector<ConfigRule<ForwardConfig>> rules = {
        {"more shared memory than a block may have",
         [](P p, V c, D d) {
           return static_cast<std::size_t>(c.smem_bytes(traits_of(p))) <= d.smem_per_block_bytes;
         },
         {"warps", "lanes_m", "thread_m", "thread_n", "stages"}},
        {"shared memory of min_blocks blocks above what a multiprocessor has",
         [](P p, V c, D d) {
           const std::size_t block = c.smem_bytes(traits_of(p)) + 1024;
           return c.min_blocks * block <= d.smem_per_block_bytes + 1024;
         },
         {"warps", "lanes_m", "thread_m", "thread_n", "stages", "min_blocks"},
         RuleKind::worth},
        {"accumulators above the registers that min_blocks leaves a thread",
         [](P p, V c, D) {
           const int registers = 65536 / (c.min_blocks * c.threads());
           return c.register_estimate(traits_of(p)) <= (registers < 255 ? registers : 255);
         },
         {"warps", "lanes_m", "thread_m", "thread_n", "min_blocks"},
         RuleKind::worth},
        {"one warp is for rows so long that more do not fit",
         [](P p, V c, D) { return c.warps > 1 || p.head_dim > 240; },
         {"warps"},
         RuleKind::worth},
        {"tile of fewer than 16 or more than 256 rows",
         [](P, V c, D) { return c.block_m() >= 16 && c.block_m() <= 256; },
         {"warps", "lanes_m", "thread_m"}},
        {"tile of more than 128 keys", [](P, V c, D) { return c.block_n() <= 128; }, {"lanes_m", "thread_n"}},
        {"tile order matters only when causal",
         [](P p, V c, D) { return p.causal || c.longest_first == ForwardConfig{}.longest_first; },
         {"longest_first"},
         RuleKind::worth},
        {"nothing to normalise",
         [](P p, V c, D) {
           return ForwardConfig::normalises(traits_of(p)) || c.norm_prepass == ForwardConfig{}.norm_prepass;
         },
         {"norm_prepass"},
         RuleKind::worth},
        {"asynchronous stages need sm_80",
         [](P, V c, D d) { return d.compute_capability >= 80 || c.stages == 1; },
         {"stages"}},
    };
    return constraints_of(forward_fields(), std::move(rules));
  }

  // Rows of O in registers limit the micro-tile (8 rows of 80 channels spill on sm_100), shared memory the
  // stages, then rows and keys of the tile.
  Configuration baseline(const Problem& problem, const Target& target) const override {
    if (problem.op == Op::backward)
      return from_struct(simt::backward_fields(), kernel_name(*this, problem.op),
                         simt::backward_baseline(problem, target));
    ForwardConfig config;
    if (target.compute_capability < 80) config.stages = 1;
    if (problem.head_dim > 192) config.unroll = 1;
    // A mask beside a bias takes the registers that rows of 64 channels leave.
    const bool crowded = problem.head_dim == 64 && problem.key_mask && problem.bias != Bias::none;
    if (problem.head_dim > 64 || crowded || target.smem_per_block_bytes < std::size_t{100} * 1024)
      config.min_blocks = 1, config.thread_m = 4;
    if (!valid(problem, config, target)) config.stages = 1;
    while (config.thread_m > 2 && !valid(problem, config, target)) config.thread_m /= 2;
    if (!valid(problem, config, target)) config.lanes_m = 8, config.warps = 2;
    if (!valid(problem, config, target)) config.warps = 1;
    return from_struct(forward_fields(), kernel_name(*this, problem.op), config);
  }

  KernelTemplate kernel_template(Op op) const override {
    if (op == Op::backward)
      return {"kernels/simt/backward.cuh",
              "fcsa::kernels::simt::BackwardConfig",
              {"fcsa::kernels::simt::prepare", "fcsa::kernels::simt::grad_keys",
               "fcsa::kernels::simt::grad_queries", "fcsa::kernels::simt::grad_bias_and_scale"}};
    return {"kernels/simt/forward.cuh",
            "fcsa::kernels::simt::ForwardConfig",
            {"fcsa::kernels::simt::forward", "fcsa::kernels::simt::key_norms", "fcsa::kernels::normalise"}};
  }

  LaunchPlan plan(const Traits& traits, const Configuration& configuration,
                  const BackwardArgs& args) const override {
    if (is_backward(configuration)) return backward_config_of(configuration).plan(traits, args);
    return config_of(configuration).plan(traits, args);
  }

  GradientKernels gradient_kernels(const Configuration& configuration) const override {
    return {.keys = backward_config_of(configuration).dq_atomics != 0 ? -1 : 1, .queries = 2};
  }

  Tile tile(const Configuration& configuration) const override {
    if (is_backward(configuration)) {
      const BackwardConfig config = backward_config_of(configuration);
      return {.rows = config.queries().block_m(), .keys = config.keys().block_m()};
    }
    const ForwardConfig config = config_of(configuration);
    return {.rows = config.block_m(), .keys = config.block_n()};
  }

 private:
  bool is_backward(const Configuration& configuration) const {
    return configuration.kernel == kernel_name(*this, Op::backward);
  }

  bool valid(const Problem& problem, const ForwardConfig& config, const Target& target) const {
    const auto configuration = from_struct(forward_fields(), kernel_name(*this, problem.op), config);
    return invalid_reason(*this, problem, configuration, target).empty();
  }
};

}  // namespace

std::unique_ptr<Family> make_simt_family() {
  return std::make_unique<SimtFamily>();
}

}  // namespace fcsa::kernels
