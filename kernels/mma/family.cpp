// The mma family: search space, constraints, baseline.
#include <algorithm>

#include "kernels/config_fields.h"
#include "kernels/families.h"
#include "kernels/mma/backward_space.h"
#include "kernels/mma/config.h"

namespace fcsa::kernels {
namespace {

using mma::ForwardConfig;

const std::vector<ConfigField<ForwardConfig>>& forward_fields() {
  using C = ForwardConfig;
  static const std::vector<ConfigField<ForwardConfig>> fields = {
      {&C::cluster, "cluster", {1, 2, 4, 8, 16}, "blocks of a cluster that share the keys of a tile"},
      {&C::warps_m, "warps_m", {1, 2, 4, 8}, "warps of different rows"},
      {&C::warps_n, "warps_n", {1, 2, 4, 8}, "warps of the same rows and different keys"},
      {&C::row_tiles, "row_tiles", {1, 2, 4}, "tiles of 16 query rows in a warp"},
      {&C::block_n, "block_n", {16, 32, 64, 128, 256}, "keys of a tile"},
      {&C::chunk, "chunk", {16, 32, 64}, "keys of S that a warp holds in registers at a time"},
      {&C::overlap, "overlap", {0, 1}, "1: S of the next chunk is computed before P V of this one"},
      {&C::q_in_registers, "q_in_registers", {0, 1}, "1: Q in registers, 0: read from shared memory"},
      {&C::swizzle, "swizzle", {0, 1}, "rows in shared memory: 1 permuted, 0 padded"},
      {&C::stages, "stages", {1, 2, 3, 4, 6}, "K and V tiles in flight"},
      {&C::min_blocks, "min_blocks", {1, 2, 3}, "blocks per multiprocessor to leave registers for"},
      {&C::unroll, "unroll", {1, 2}, "chunks that are written out"},
      {&C::key_norms, "key_norms", {0, 1, 2}, "1/|k|: 0 by a kernel, in the block by 1 CUDA, 2 tensor cores"},
      {&C::tensor_sums, "tensor_sums", {0, 1}, "row sums of P: 0 on the CUDA cores, 1 on the tensor cores"},
      {&C::polynomial, "polynomial", {0, 2}, "of 8 exponentials, how many by polynomial"},
      {&C::split_until,
       "split_until",
       {0, 128, 192, 256, 384, 512, 1024, 2048},
       "split keys into up to so many blocks"},
      {&C::pack_heads, "pack_heads", {0, 1}, "1: query heads of a key/value head share a tile"},
      {&C::longest_first, "longest_first", {0, 1}, "causal: longest tiles start first"},
  };
  return fields;
}

ForwardConfig config_of(const Configuration& configuration) {
  return to_struct(forward_fields(), configuration);
}

// Blocks: 8 everywhere since sm_90, 16 on the chips for data centres.
int largest_cluster(const Target& target) {
  if (target.compute_capability < 90) return 1;
  return target.compute_capability == 90 || target.compute_capability / 10 == 10 ? 16 : 8;
}

// Query rows that read the same keys.
long long shared_rows(const Problem& p) {
  return 1LL * p.nq * (p.heads / p.kv_heads);
}

// Grouped normalisation comes out of a kernel of its own, so that nothing is left to do here.
bool normalises(const Problem& p) {
  return p.l2norm_qk && p.groups == 1;
}

class MmaFamily final : public Family {
 public:
  std::string name() const override { return "mma"; }
  DeviceKind device_kind() const override { return DeviceKind::cuda; }

  std::string unsupported(const Problem& problem, const Target& target) const override {
    if (std::string reason = Family::unsupported(problem, target); !reason.empty()) return reason;
    if (target.compute_capability < 80) return "mma needs compute capability 8.0 or later";
    if (problem.op == Op::backward) return mma::backward_unsupported(problem);
    // Three products a step and O of 256 channels don't fit the registers: simt serves them.
    if (problem.dtype == DType::f32 && problem.head_dim > 128)
      return "mma serves f32 up to head dimension 128";
    return {};
  }

  std::vector<Parameter> parameters(Op op) const override {
    return op == Op::forward ? parameters_of(forward_fields()) : mma::backward_parameters();
  }

  std::vector<Constraint> constraints(Op op) const override {
    if (op == Op::backward) return mma::backward_constraints();
    using P = const Problem&;
    using V = const ForwardConfig&;
    using D = const Target&;
    std::vector<ConfigRule<ForwardConfig>> rules = {
        {"clusters larger than the device makes",
         [](P, V c, D d) { return c.cluster <= largest_cluster(d); },
         {"cluster"}},
        {"tiles of 128 rows fill the device without clusters",
         [](P p, V c, D d) {
           return c.cluster == 1 || ceil_div(shared_rows(p), 128) * p.batch * p.kv_heads < d.multiprocessors;
         },
         {"cluster"},
         RuleKind::worth_here},
        {"half of a tile's rows are past the end",
         [](P p, V c, D) {
           const int rows = c.block_m();
           return rows == 16 || rows / 2 < shared_rows(p);
         },
         {"warps_m", "row_tiles"},
         RuleKind::worth_here},
        {"more than 8 warps in a block", [](P, V c, D) { return c.warps() <= 8; }, {"warps_m", "warps_n"}},
        {"keys of a tile don't divide into warps and chunks",
         [](P, V c, D) { return c.block_n % c.warps() == 0 && c.warp_keys() % c.chunk == 0; },
         {"warps_m", "warps_n", "block_n", "chunk"}},
        {"one chunk has nothing to overlap with",
         [](P, V c, D) { return !c.overlap || c.warp_keys() > c.chunk; },
         {"warps_n", "block_n", "chunk", "overlap"}},
        {"accumulators and operands above the registers of a thread",
         [](P p, V c, D) { return c.register_estimate(traits_of(p)) <= 255; },
         {"row_tiles", "chunk", "overlap", "q_in_registers"},
         RuleKind::worth},
        {"row length can't be swizzled",
         [](P p, V c, D) { return !c.swizzle || ForwardConfig::can_swizzle(traits_of(p)); },
         {"swizzle"}},
        {"more shared memory than a block may have",
         [](P p, V c, D d) {
           return static_cast<std::size_t>(c.smem_bytes(traits_of(p))) <= d.smem_per_block_bytes;
         },
         {"cluster", "warps_m", "warps_n", "row_tiles", "block_n", "q_in_registers", "swizzle", "stages"}},
        {"shared memory of min_blocks blocks above what a multiprocessor has",
         [](P p, V c, D d) {
           const std::size_t block = c.smem_bytes(traits_of(p)) + 1024;
           return c.min_blocks * block <= d.smem_per_block_bytes + 1024;
         },
         {"cluster", "warps_m", "warps_n", "row_tiles", "block_n", "q_in_registers", "swizzle", "stages",
          "min_blocks"},
         RuleKind::worth},
        {"accumulators and operands above the registers that min_blocks leaves a thread",
         [](P p, V c, D) {
           const int registers = 65536 / (c.min_blocks * c.threads());
           return c.register_estimate(traits_of(p)) <= registers;
         },
         {"warps_m", "warps_n", "row_tiles", "chunk", "overlap", "q_in_registers", "min_blocks"},
         RuleKind::worth},
        {"more chunks written out than a warp has in a tile",
         [](P, V c, D) { return c.unroll * c.chunk <= c.warp_keys(); },
         {"warps_n", "block_n", "chunk", "unroll"}},
        {"nothing to normalise",
         [](P p, V c, D) { return normalises(p) || c.key_norms == 0; },
         {"key_norms"},
         RuleKind::worth},
        {"norms in the block need 16-bit rows, 16 for each warp",
         [](P p, V c, D) {
           return c.key_norms == 0 || (p.dtype != DType::f32 && c.block_n / c.warps() % 16 == 0);
         },
         {"warps_m", "warps_n", "block_n", "key_norms"}},
        {"neither the polynomial nor sums of TF32 are exact enough for f32",
         [](P p, V c, D) { return p.dtype != DType::f32 || (c.polynomial == 0 && c.tensor_sums == 0); },
         {"polynomial", "tensor_sums"}},
        {"tiles fill the device without splitting the keys",
         [](P p, V c, D) { return c.split_until == 0 || c.splits(shape_args(p)) > 1; },
         {"warps_m", "row_tiles", "block_n", "split_until", "pack_heads"},
         RuleKind::worth_here},
        {"keys are split by clusters or through the workspace",
         [](P, V c, D) { return c.cluster == 1 || c.split_until == 0; },
         {"cluster", "split_until"}},
        {"every query head has a key/value head of its own",
         [](P p, V c, D) { return p.heads != p.kv_heads || c.pack_heads == 0; },
         {"pack_heads"},
         RuleKind::worth_here},
        {"tile order matters only when causal",
         [](P p, V c, D) { return p.causal || c.longest_first == ForwardConfig{}.longest_first; },
         {"longest_first"},
         RuleKind::worth},
    };
    return constraints_of(forward_fields(), std::move(rules));
  }

  // Few query rows: one tile of the rows of all heads that read a key/value head, whose keys are split over
  // warps and blocks, and as many stages as leave room for a second block. Otherwise as many rows in a warp
  // as the registers hold O for, or half where the tiles don't fill the device.
  Configuration baseline(const Problem& problem, const Target& target) const override {
    if (problem.op == Op::backward) return mma::backward_baseline(problem, target);
    const Traits traits = traits_of(problem);
    const Args args = shape_args(problem);
    ForwardConfig config;
    // A mask beside a bias takes the registers that f32 leaves: permuted rows of 128 channels spill on
    // sm_120a, 64 keys of 96 channels on sm_86.
    const bool crowded = problem.dtype == DType::f32 && problem.key_mask && problem.bias != Bias::none;
    config.swizzle = ForwardConfig::can_swizzle(traits) &&
                     !(crowded && problem.head_dim == 128 && target.compute_capability >= 120);
    // The causal limits of 32 rows of 128 channels with 32 keys spill on sm_100a and sm_120a.
    const bool tight = problem.head_dim == 128 && problem.causal && target.compute_capability >= 100;
    config.chunk = problem.dtype == DType::f32 || problem.head_dim > 128 || tight ? 16 : 32;
    // 32 rows of 128 channels leave no registers for a bias.
    const int most_channels = problem.bias != Bias::none ? 64 : 128;
    config.row_tiles = problem.head_dim <= most_channels && problem.dtype != DType::f32 ? 2 : 1;
    // Norms in the block: with those of a pre-pass, 192 channels spill on sm_90a at 205 registers.
    if (problem.head_dim > 128 && normalises(problem)) config.key_norms = mma::kCudaCores;
    config.q_in_registers = problem.head_dim <= 64;
    const bool few_rows = shared_rows(problem) <= 32;
    if (crowded && !few_rows && problem.head_dim > 80 && problem.head_dim < 128) config.block_n = 32;
    // A mask beside a bias: 64 keys of 192 channels spill on sm_120a.
    const bool wide = problem.head_dim > 128 && problem.head_dim <= 192 && problem.dtype != DType::f32;
    if (wide && !few_rows && problem.key_mask && problem.bias != Bias::none) config.block_n = 32;
    if (few_rows) {
      config.warps_m = config.row_tiles = 1;
      config.warps_n = 4;
      config.pack_heads = problem.heads != problem.kv_heads;
      config.chunk = 16;
      if (normalises(problem) && problem.dtype != DType::f32) config.key_norms = mma::kCudaCores;
      config.stages = 4;
      while (config.stages > 2 && !holds_two(config.smem_bytes(traits), target)) --config.stages;
    } else if (config.tile_count(args) < target.multiprocessors) {
      config.row_tiles = 1;
    }
    while (config.block_m() > 16 && config.block_m() / 2 >= shared_rows(problem))
      (config.row_tiles > 1 ? config.row_tiles : config.warps_m) /= 2;
    config = with_keys_split(config, args, target);
    while (config.stages > 1 && !valid(problem, config, target)) --config.stages;
    while (config.block_n > 16 && !valid(problem, config, target)) {
      config.block_n /= 2;
      config.warps_n = std::min(config.warps_n, config.block_n / 16);
      config.chunk = std::min(config.chunk, config.warp_keys());
      if (config.block_n / config.warps() < 16) config.key_norms = mma::kPrepass;
    }
    if (config.splits(args) == 1) config.split_until = 0;
    return from_struct(forward_fields(), kernel_name(*this, problem.op), config);
  }

  // The accumulators of the backward pass take all registers that a thread can have.
  bool baseline_may_spill(Op op) const override { return op == Op::backward; }

  KernelTemplate kernel_template(Op op) const override {
    if (op == Op::backward)
      return {"kernels/mma/backward.cuh",
              "fcsa::kernels::mma::BackwardConfig",
              {"fcsa::kernels::mma::prepare_backward", "fcsa::kernels::mma::grad_keys",
               "fcsa::kernels::mma::grad_queries", "fcsa::kernels::mma::grad_bias_and_scale"}};
    return {"kernels/mma/forward.cuh",
            "fcsa::kernels::mma::ForwardConfig",
            {"fcsa::kernels::mma::forward", "fcsa::kernels::key_factors", "fcsa::kernels::mma::combine",
             "fcsa::kernels::normalise", "fcsa::kernels::mma::forward_in_clusters"}};
  }

  LaunchPlan plan(const Traits& traits, const Configuration& configuration,
                  const BackwardArgs& args) const override {
    if (is_backward(configuration)) return mma::backward_config_of(configuration).plan(traits, args);
    return config_of(configuration).plan(traits, args);
  }

  GradientKernels gradient_kernels(const Configuration& configuration) const override {
    return {.keys = mma::backward_config_of(configuration).dq == mma::kAtomics ? -1 : 1, .queries = 2};
  }

  Tile tile(const Configuration& configuration) const override {
    if (is_backward(configuration)) {
      const mma::BackwardConfig config = mma::backward_config_of(configuration);
      return {.rows = config.block_m, .keys = config.keys().rows()};
    }
    const ForwardConfig config = config_of(configuration);
    return {.rows = config.block_m(),
            .keys = config.block_n,
            .packs_heads = config.pack_heads != 0,
            .blocks = config.cluster,
            .split_until = config.split_until};
  }

 private:
  bool is_backward(const Configuration& configuration) const {
    return configuration.kernel == kernel_name(*this, Op::backward);
  }

  static bool holds_two(int smem_bytes, const Target& target) {
    return 2 * (static_cast<std::size_t>(smem_bytes) + 1024) <= target.smem_per_block_bytes + 1024;
  }

  // Until there is a block for every multiprocessor: by clusters, which need no second kernel, where the
  // largest is enough.
  static ForwardConfig with_keys_split(ForwardConfig config, const Args& args, const Target& target) {
    const long long tiles = config.tile_count(args), wanted = target.multiprocessors;
    if (tiles >= wanted) return config;
    while (config.cluster < largest_cluster(target) && config.cluster * tiles < wanted) config.cluster *= 2;
    if (config.cluster * tiles * 4 >= wanted * 3) return config;
    config.cluster = 1;
    config.split_until = 256;
    return config;
  }

  bool valid(const Problem& problem, const ForwardConfig& config, const Target& target) const {
    const auto configuration = from_struct(forward_fields(), kernel_name(*this, problem.op), config);
    return invalid_reason(*this, problem, configuration, target).empty();
  }
};

}  // namespace

std::unique_ptr<Family> make_mma_family() {
  return std::make_unique<MmaFamily>();
}

}  // namespace fcsa::kernels
