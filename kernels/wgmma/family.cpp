// The wgmma family: search space, constraints, baseline.
#include <algorithm>

#include "kernels/config_fields.h"
#include "kernels/families.h"
#include "kernels/wgmma/config.h"

namespace fcsa::kernels {
namespace {

using wgmma::ForwardConfig;

const std::vector<ConfigField<ForwardConfig>>& forward_fields() {
  using C = ForwardConfig;
  static const std::vector<ConfigField<ForwardConfig>> fields = {
      {&C::warpgroups, "warpgroups", {1, 2, 3, 4}, "warpgroups that compute, of 64 query rows each"},
      {&C::block_n, "block_n", {32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224}, "keys of a tile"},
      {&C::stages, "stages", {2, 3, 4}, "K and V tiles in flight"},
      {&C::overlap,
       "overlap",
       {0, 1, 2},
       "0: one product after the other, 1: next S queued behind P V, 2: before it"},
      {&C::slice, "slice", {0, 16, 32, 64}, "keys whose P V is issued as soon as P is there; 0: all at once"},
      {&C::ping_pong, "ping_pong", {0, 1}, "1: warpgroups issue their products in turn"},
      {&C::q_in_registers, "q_in_registers", {0, 1}, "1: Q in registers, 0: read from shared memory"},
      {&C::scale_queries, "scale_queries", {0, 1}, "1/|q| and the scale go 1: into Q, 0: into S"},
      {&C::key_norms,
       "key_norms",
       {0, 1, 2},
       "1/|k|: 0 by a kernel, 1 by idle warps of the producer, 2 by all blocks for all while they work"},
      {&C::producer_registers, "producer_registers", {32, 40, 56}, "of a thread of the producer"},
      {&C::persistent, "persistent", {0, 1}, "1: blocks take tile after tile, 0: one each"},
      {&C::min_blocks, "min_blocks", {1, 2}, "blocks per multiprocessor"},
      {&C::cluster, "cluster", {1, 2}, "blocks that share their copies of K and V"},
      {&C::pack_heads, "pack_heads", {0, 1}, "1: query heads of a key/value head share a tile"},
      {&C::head_group, "head_group", {0, 1, 4}, "heads worked on at the same time; 0: all"},
      {&C::polynomial, "polynomial", {0, 1, 2}, "of 8 exponentials, how many by polynomial"},
      {&C::tensor_sums, "tensor_sums", {0, 1}, "row sums: 0 on the CUDA cores, 1 by the tensor cores"},
      {&C::paired,
       "paired",
       {0, 1},
       "causal: 1 a long and a short tile are one piece of work, 0 longest tiles first"},
  };
  return fields;
}

ForwardConfig config_of(const Configuration& configuration) {
  return to_struct(forward_fields(), configuration);
}

class WgmmaFamily final : public Family {
 public:
  std::string name() const override { return "wgmma"; }
  DeviceKind device_kind() const override { return DeviceKind::cuda; }

  std::string unsupported(const Problem& problem, const Target& target) const override {
    if (target.kind != DeviceKind::cuda) return "wgmma runs on CUDA devices";
    if (target.compute_capability != 90) return "wgmma needs compute capability 9.0";
    if (problem.op != Op::forward) return "wgmma has no backward pass yet";
    if (problem.dtype == DType::f32) return "wgmma serves f16 and bf16";
    if (problem.bias != Bias::none) return "wgmma has no bias: mma serves it";
    return {};
  }

  std::vector<Parameter> parameters(Op) const override { return parameters_of(forward_fields()); }

  std::vector<Constraint> constraints(Op) const override {
    using P = const Problem&;
    using V = const Configuration&;
    using D = const Target&;
    return {
        {"accumulators and operands above the registers of a consumer",
         [](P p, V c, D) {
           return config_of(c).register_estimate(traits_of(p)) <= config_of(c).consumer_registers();
         },
         {"warpgroups", "block_n", "overlap", "q_in_registers", "producer_registers", "min_blocks"}},
        {"P V of a tile is issued at once where it overlaps with the next tile",
         [](P, V c, D) { return config_of(c).overlap != wgmma::kExponentials || config_of(c).slice == 0; },
         {"overlap", "slice"}},
        {"no more keys in a slice than in a tile",
         [](P, V c, D) { return config_of(c).slice < config_of(c).block_n; },
         {"block_n", "slice"}},
        {"turns need several warpgroups, and all of a tile's products at once",
         [](P, V c, D) {
           return !config_of(c).ping_pong || (config_of(c).warpgroups > 1 && config_of(c).slice == 0);
         },
         {"warpgroups", "slice", "ping_pong"}},
        {"more shared memory than a block may have",
         [](P p, V c, D d) {
           return static_cast<std::size_t>(config_of(c).smem_bytes(traits_of(p))) <= d.smem_per_block_bytes;
         },
         {"warpgroups", "block_n", "stages"}},
        {"shared memory of min_blocks blocks above what a multiprocessor has",
         [](P p, V c, D d) {
           const std::size_t block = config_of(c).smem_bytes(traits_of(p)) + 1024;
           return config_of(c).min_blocks * block <= d.smem_per_block_bytes + 1024;
         },
         {"warpgroups", "block_n", "stages", "min_blocks"}},
        {"nothing to normalise",
         [](P p, V c, D) {
           return ForwardConfig::normalises(traits_of(p)) || config_of(c).key_norms == wgmma::kProducer;
         },
         {"key_norms"}},
        {"row sums by the tensor cores need V in one panel",
         [](P p, V c, D) {
           return config_of(c).tensor_sums == 0 || ForwardConfig::panels(traits_of(p)) == 1;
         },
         {"tensor_sums"}},
        {"blocks that wait for each other's norms must all be there",
         [](P, V c, D) { return config_of(c).key_norms != wgmma::kTogether || config_of(c).persistent == 1; },
         {"key_norms", "persistent"}},
        {"Q without norms stays as it is, and in registers takes them on its way there",
         [](P p, V c, D) {
           const ForwardConfig config = config_of(c);
           return config.scale_queries == 1 ||
                  (ForwardConfig::normalises(traits_of(p)) && config.q_in_registers == 0);
         },
         {"q_in_registers", "scale_queries"}},
        {"one tile of queries: nobody to share copies with",
         [](P p, V c, D) {
           const ForwardConfig config = config_of(c);
           return config.cluster == 1 ||
                  p.nq * (config.pack_heads ? p.heads / p.kv_heads : 1) > config.block_m();
         },
         {"warpgroups", "cluster", "pack_heads"}},
        {"every query head has a key/value head of its own, or 64 rows are not whole queries of all that "
         "share one",
         [](P p, V c, D) {
           const int group = p.heads / p.kv_heads;
           return config_of(c).pack_heads == 0 || (group > 1 && ForwardConfig::kRows % group == 0);
         },
         {"pack_heads"}},
        {"a group of all heads",
         [](P p, V c, D) { return config_of(c).head_group < config_of(c).head_tiles(shape_args(p)); },
         {"pack_heads", "head_group"}},
        {"tile order matters only when causal",
         [](P p, V c, D) { return p.causal || config_of(c).paired == ForwardConfig{}.paired; },
         {"paired"}},
    };
  }

  // As an H100 likes it best at most lengths. Up to 64 channels warpgroups take turns by themselves, four of
  // them where causal tiles leave work uneven, and the tensor cores have time for the row sums; up to 96
  // there are three, above two, which are made to take turns. The tile of keys is as large as the registers
  // allow. Norms that all blocks share pay from 1,024 keys on.
  Configuration baseline(const Problem& problem, const Target& target) const override {
    ForwardConfig config;
    const Traits traits = traits_of(problem);
    const int group = problem.heads / problem.kv_heads;
    config.head_group = 1;
    config.tensor_sums = ForwardConfig::panels(traits) == 1;
    if (problem.nq <= ForwardConfig::kRows) {
      config.warpgroups = 1;
      config.pack_heads = group > 1 && ForwardConfig::kRows % group == 0;
    } else if (problem.head_dim <= 64 &&
               !problem.key_mask) {  // a mask takes registers that three don't leave
      config.warpgroups = problem.causal ? 4 : 3;
      config.block_n = problem.causal ? 80 : 128;
      config.overlap = problem.causal ? wgmma::kApart : wgmma::kQueued;
      config.producer_registers = 32;
    } else if (problem.head_dim > 64 && problem.head_dim <= 96) {
      config.warpgroups = 3;
      config.block_n =
          ForwardConfig::normalises(traits) ? 96 : 80;  // with factors 80 leave too few registers
      config.overlap = ForwardConfig::normalises(traits) ? wgmma::kQueued : wgmma::kExponentials;
      config.producer_registers = 32;
    } else {
      config.warpgroups = 2;
      config.ping_pong = 1;
      config.stages = problem.head_dim <= 128 ? 3 : 2;
      if (problem.head_dim > 128) config.block_n = problem.head_dim <= 192 ? 96 : 64;
    }
    if (ForwardConfig::normalises(traits) && problem.nk >= 1024) {
      config.key_norms = problem.nq <= ForwardConfig::kRows ? wgmma::kPrepass : wgmma::kTogether;
      if (config.warpgroups == 2) config.producer_registers = 56;
    }
    if (config.head_tiles(shape_args(problem)) <= 1) config.head_group = 0;
    while (config.block_n > 32 && !valid(problem, config, target)) config.block_n -= 16;
    return from_struct(forward_fields(), kernel_name(*this, problem.op), config);
  }

  KernelTemplate kernel_template(Op) const override {
    return {"kernels/wgmma/forward.cuh",
            "fcsa::kernels::wgmma::ForwardConfig",
            {"fcsa::kernels::wgmma::forward", "fcsa::kernels::key_factors", "fcsa::kernels::normalise",
             "fcsa::kernels::wgmma::clear_counts"}};
  }

  LaunchPlan plan(const Traits& traits, const Configuration& configuration,
                  const BackwardArgs& args) const override {
    return config_of(configuration).plan(traits, args);
  }

  Tile tile(const Configuration& configuration) const override {
    const ForwardConfig config = config_of(configuration);
    return {.rows = config.block_m(),
            .keys = config.block_n,
            .packs_heads = config.pack_heads != 0,
            .pairs = config.paired != 0};
  }

 private:
  bool valid(const Problem& problem, const ForwardConfig& config, const Target& target) const {
    const auto configuration = from_struct(forward_fields(), kernel_name(*this, problem.op), config);
    return invalid_reason(*this, problem, configuration, target).empty();
  }
};

}  // namespace

std::unique_ptr<Family> make_wgmma_family() {
  return std::make_unique<WgmmaFamily>();
}

}  // namespace fcsa::kernels
