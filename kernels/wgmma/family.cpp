// The wgmma family: search space, constraints, baseline.
#include <algorithm>

#include "kernels/config_fields.h"
#include "kernels/families.h"
#include "kernels/wgmma/backward_space.h"
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
      {&C::q_buffers, "q_buffers", {1, 2}, "tiles of Q in flight"},
      {&C::scale_queries, "scale_queries", {0, 1}, "1/|q| and the scale go 1: into Q, 0: into S"},
      {&C::key_norms,
       "key_norms",
       {0, 1, 2},
       "0: K / |k| by a kernel, 1: 1/|k| by idle warps of the producer, 2: K / |k| by all blocks"},
      {&C::producer_registers, "producer_registers", {32, 40, 56}, "of a thread of the producer"},
      {&C::persistent, "persistent", {0, 1}, "1: blocks take tile after tile, 0: one each"},
      {&C::min_blocks, "min_blocks", {1, 2, 3, 4}, "blocks per multiprocessor"},
      {&C::cluster, "cluster", {1, 2}, "blocks that share their copies of K and V"},
      {&C::split, "split", {1, 2, 4, 8, 16}, "blocks of a cluster that share the keys of a tile and add up"},
      {&C::tma_store, "tma_store", {0, 1}, "1: O leaves through shared memory by the TMA, 0: from registers"},
      {&C::pack_heads, "pack_heads", {0, 1}, "1: query heads of a key/value head share a tile"},
      {&C::head_group, "head_group", {0, 1, 4, 16}, "heads worked on at the same time; 0: all"},
      {&C::polynomial, "polynomial", {0, 1, 2}, "of 8 exponentials, how many by polynomial"},
      {&C::tensor_sums, "tensor_sums", {0, 1}, "row sums: 0 on the CUDA cores, 1 by the tensor cores"},
      {&C::paired,
       "paired",
       {0, 1},
       "causal: 1 a long and a short tile are one piece of work, 0 longest tiles first"},
      {&C::uniform,
       "uniform",
       {0, 1, 2},
       "addresses in uniform registers: 0 as the compiler likes, 1 by a reduction for each product, 2 by a "
       "barrier for each walk"},
      {&C::bias_stages, "bias_stages", {1, 2}, "tiles of the bias in flight"},
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
    if (std::string reason = Family::unsupported(problem, target); !reason.empty()) return reason;
    if (target.compute_capability != 90) return "wgmma needs compute capability 9.0";
    if (problem.dtype == DType::f32) return "wgmma serves f16 and bf16";
    return problem.op == Op::backward ? wgmma::backward_unsupported(problem) : std::string{};
  }

  std::vector<Parameter> parameters(Op op) const override {
    return op == Op::forward ? parameters_of(forward_fields()) : wgmma::backward_parameters();
  }

  std::vector<Constraint> constraints(Op op) const override {
    if (op == Op::backward) return wgmma::backward_constraints();
    using P = const Problem&;
    using V = const ForwardConfig&;
    using D = const Target&;
    std::vector<ConfigRule<ForwardConfig>> rules = {
        {"accumulators and operands above the registers of a consumer",
         [](P p, V c, D) {
           ForwardConfig least = c;
           least.tensor_sums = 0;
           return least.register_estimate(traits_of(p)) <= least.consumer_registers();
         },
         {"warpgroups", "block_n", "overlap", "q_in_registers", "producer_registers", "min_blocks"},
         RuleKind::worth},
        {"accumulators, sums and operands above the registers of a consumer",
         [](P p, V c, D) { return c.register_estimate(traits_of(p)) <= c.consumer_registers(); },
         {"warpgroups", "block_n", "overlap", "q_in_registers", "producer_registers", "min_blocks",
          "tensor_sums"},
         RuleKind::worth},
        {"P V in slices where it overlaps with the exponentials of the next tile",
         [](P, V c, D) { return c.overlap != wgmma::kExponentials || c.slice == 0; },
         {"overlap", "slice"}},
        {"a slice of as many keys as a tile, or more",
         [](P, V c, D) { return c.slice < c.block_n; },
         {"block_n", "slice"}},
        {"turns of a single warpgroup, or of products in slices",
         [](P, V c, D) { return !c.ping_pong || (c.warpgroups > 1 && c.slice == 0); },
         {"warpgroups", "slice", "ping_pong"}},
        {"tiles take more shared memory than a block may have",
         [](P p, V c, D d) {
           return static_cast<std::size_t>(c.tiles_bytes(traits_of(p))) <= d.smem_per_block_bytes;
         },
         {"warpgroups", "block_n", "stages", "q_buffers", "bias_stages"}},
        {"more shared memory than a block may have",
         [](P p, V c, D d) {
           return static_cast<std::size_t>(c.smem_bytes(traits_of(p))) <= d.smem_per_block_bytes;
         },
         {"warpgroups", "block_n", "stages", "q_buffers", "key_norms", "tensor_sums", "bias_stages"}},
        {"shared memory of min_blocks blocks above what a multiprocessor has",
         [](P p, V c, D d) {
           const std::size_t block = c.smem_bytes(traits_of(p)) + 1024;
           return c.min_blocks * block <= d.smem_per_block_bytes + 1024;
         },
         {"warpgroups", "block_n", "stages", "q_buffers", "key_norms", "min_blocks", "tensor_sums",
          "bias_stages"},
         RuleKind::worth},
        {"three or more blocks of a multiprocessor with more than a warpgroup, or with above 64 channels",
         [](P p, V c, D) { return c.min_blocks <= 2 || (c.warpgroups == 1 && p.head_dim <= 64); },
         {"warpgroups", "min_blocks"}},
        {"sixteen heads at the same time where there is no bias that batches share",
         [](P p, V c, D) { return p.bias != Bias::none || c.head_group != 16; },
         {"head_group"}},
        {"a second place for a bias where there is none",
         [](P p, V c, D) { return p.bias != Bias::none || c.bias_stages == 1; },
         {"bias_stages"}},
        {"with a bias, O stored by TMA, which has no tensor map left, or rows of several heads in a tile",
         [](P p, V c, D) { return p.bias == Bias::none || (c.tma_store == 0 && c.pack_heads == 0); },
         {"tma_store", "pack_heads"}},
        {"a second place for Q in blocks that end after a tile of queries or two, or have it in registers",
         [](P, V c, D) { return c.q_buffers == 1 || (c.persistent == 1 && c.q_in_registers == 0); },
         {"q_in_registers", "q_buffers", "persistent"}},
        {"O in the place of Q without a second place for the next Q",
         [](P, V c, D) { return c.tma_store == 0 || c.q_buffers == 2; },
         {"q_buffers", "tma_store"}},
        {"a way to normalise keys where nothing is normalised",
         [](P p, V c, D) {
           return ForwardConfig::normalises(traits_of(p)) || c.key_norms == wgmma::kProducer;
         },
         {"key_norms"},
         RuleKind::worth},
        {"exponentials by a polynomial at 64 channels or more",
         [](P p, V c, D) { return p.head_dim < 64 || c.polynomial == 0; },
         {"polynomial"},
         RuleKind::worth},
        {"more than 40 registers for a producer without factors to compute",
         [](P p, V c, D) {
           return ForwardConfig::normalises(traits_of(p)) || p.key_mask || c.producer_registers <= 40;
         },
         {"producer_registers"},
         RuleKind::worth},
        {"row sums by the tensor cores with V in several panels",
         [](P p, V c, D) { return c.tensor_sums == 0 || ForwardConfig::panels(traits_of(p)) == 1; },
         {"tensor_sums"}},
        {"keys normalised by all blocks together under a key mask",
         [](P p, V c, D) { return c.key_norms != wgmma::kTogether || !p.key_mask; },
         {"key_norms"}},
        {"keys normalised by all blocks together where not all blocks run at once",
         [](P, V c, D) { return c.key_norms != wgmma::kTogether || c.persistent == 1; },
         {"key_norms", "persistent"}},
        {"Q left unscaled where nothing is normalised, or where it is in registers",
         [](P p, V c, D) {
           return c.scale_queries == 1 || (ForwardConfig::normalises(traits_of(p)) && c.q_in_registers == 0);
         },
         {"q_in_registers", "scale_queries"}},
        {"a cluster for a single tile of queries",
         [](P p, V c, D) {
           return c.cluster == 1 || p.nq * (c.pack_heads ? p.heads / p.kv_heads : 1) > c.block_m();
         },
         {"warpgroups", "cluster", "pack_heads"},
         RuleKind::worth_here},
        {"keys split within a cluster that shares copies, or into parts larger than the tiles they replace",
         [](P p, V c, D) {
           const Traits traits = traits_of(p);
           return c.split == 1 || (c.cluster == 1 && c.part_bytes(traits) <= c.tiles_bytes(traits));
         },
         {"warpgroups", "block_n", "stages", "q_buffers", "cluster", "split", "bias_stages"}},
        {"keys split over blocks that take several tiles of queries, or store O by TMA",
         [](P, V c, D) { return c.split == 1 || (c.persistent == 0 && c.tma_store == 0); },
         {"persistent", "split", "tma_store"}},
        {"keys split over blocks that take pairs of tiles of queries",
         [](P p, V c, D) { return c.split == 1 || !c.pairs(traits_of(p)); },
         {"split", "paired"}},
        {"row sums by the tensor cores where keys are split: too few registers (ptxas C7511)",
         [](P, V c, D) { return c.split == 1 || c.tensor_sums == 0; },
         {"split", "tensor_sums"},
         RuleKind::worth},
        {"tiles of queries fill the device without splitting keys, or keys are too few",
         [](P p, V c, D d) {
           ForwardConfig config = c;
           config.paired = 0;
           return config.split == 1 || (config.work_count(traits_of(p), shape_args(p)) < d.multiprocessors &&
                                        ceil_div(p.nk, config.block_n) >= 2LL * config.split);
         },
         {"warpgroups", "block_n", "split", "pack_heads"},
         RuleKind::worth_here},
        {"every query head has a key/value head of its own, or 64 rows are not whole queries of all that "
         "share one",
         [](P p, V c, D) {
           const int group = p.heads / p.kv_heads;
           return c.pack_heads == 0 || (group > 1 && ForwardConfig::kRows % group == 0);
         },
         {"pack_heads"},
         RuleKind::worth_here},
        {"a group of all heads",
         [](P p, V c, D) { return c.head_group < c.head_tiles(shape_args(p)); },
         {"pack_heads", "head_group"},
         RuleKind::worth_here},
        {"an order of tiles where nothing is causal",
         [](P p, V c, D) { return p.causal || c.paired == ForwardConfig{}.paired; },
         {"paired"},
         RuleKind::worth},
    };
    return constraints_of(forward_fields(), std::move(rules));
  }

  // As an H200 likes it best at most lengths, in a search of all structures. The tile of keys is as large as
  // the registers allow, smaller where causal tiles are short; with a mask registers are scarcer.
  Configuration baseline(const Problem& problem, const Target& target) const override {
    if (problem.op == Op::backward) return wgmma::backward_baseline(problem, target);
    ForwardConfig config;
    const int group = problem.heads / problem.kv_heads;
    config.head_group = 1;
    config.tensor_sums = ForwardConfig::panels(traits_of(problem)) == 1;
    if (problem.bias != Bias::none) {
      add_bias(problem, config);
    } else if (problem.nq <= ForwardConfig::kRows) {
      config.warpgroups = 1;
      config.pack_heads = group > 1 && ForwardConfig::kRows % group == 0;
      if (problem.key_mask && problem.head_dim > 128) config.block_n = 96;
    } else if (problem.head_dim > 64 && problem.head_dim <= 96) {
      three_warpgroups(problem, config);
    } else if (problem.head_dim <= 64 && !problem.key_mask) {
      narrow_heads(problem, config);
    } else {
      two_warpgroups(problem, config);
    }
    if (config.head_tiles(shape_args(problem)) <= config.head_group) config.head_group = 0;
    split_keys(problem, target, config);
    if (config.split == 1) mask_narrow_heads(problem, config);
    if (config.warpgroups == 2 && config.key_norms == wgmma::kTogether)
      config.producer_registers = 56;                      // more loads under way
    if (problem.key_mask) config.producer_registers = 56;  // the mask is read ahead, which 40 spill
    while (config.block_n > 32 && !valid(problem, config, target)) config.block_n -= 16;
    return from_struct(forward_fields(), kernel_name(*this, problem.op), config);
  }

  // A few registers of the thread that copies, or of the warpgroup that computes dQ between its products.
  bool baseline_may_spill(Op op) const override { return op == Op::backward; }

  KernelTemplate kernel_template(Op op) const override {
    if (op == Op::backward)
      return {"kernels/wgmma/backward.cuh",
              "fcsa::kernels::wgmma::BackwardConfig",
              {"fcsa::kernels::wgmma::prepare_backward", "fcsa::kernels::wgmma::backward",
               "fcsa::kernels::wgmma::convert_queries", "fcsa::kernels::wgmma::grad_scale"}};
    return {"kernels/wgmma/forward.cuh",
            "fcsa::kernels::wgmma::ForwardConfig",
            {"fcsa::kernels::wgmma::forward", "fcsa::kernels::wgmma::normalise_keys",
             "fcsa::kernels::normalise", "fcsa::kernels::wgmma::clear_counts"}};
  }

  LaunchPlan plan(const Traits& traits, const Configuration& configuration,
                  const BackwardArgs& args) const override {
    if (is_backward(configuration)) return wgmma::backward_config_of(configuration).plan(traits, args);
    return config_of(configuration).plan(traits, args);
  }

  // One kernel computes all; dQ is rounded by one of its own.
  GradientKernels gradient_kernels(const Configuration&) const override { return {.keys = -1, .queries = 2}; }

  Tile tile(const Configuration& configuration) const override {
    if (is_backward(configuration)) {
      const wgmma::BackwardConfig config = wgmma::backward_config_of(configuration);
      return {.rows = config.block_m, .keys = config.block_n()};
    }
    const ForwardConfig config = config_of(configuration);
    return {.rows = config.block_m(),
            .keys = config.block_n,
            .packs_heads = config.pack_heads != 0,
            .pairs = config.paired != 0,
            .blocks = config.split};
  }

 private:
  bool is_backward(const Configuration& configuration) const {
    return configuration.kernel == kernel_name(*this, Op::backward);
  }

  // Up to 64 channels: the tensor cores have time for the row sums, and P V is issued as P appears. Four
  // warpgroups, except for long full walks over keys, which three with larger tiles finish sooner.
  static void narrow_heads(const Problem& problem, ForwardConfig& config) {
    const Traits traits = traits_of(problem);
    const bool normalises = ForwardConfig::normalises(traits), fixed = traits.softmax == Softmax::fixed_bound;
    config.producer_registers = 32;
    config.overlap = wgmma::kApart;
    config.slice = 16;
    if (ForwardConfig::panels(traits) > 1) {  // 48: sums on the CUDA cores, and more addresses
      config.warpgroups = 3;
      config.block_n = 96;
      config.overlap = wgmma::kQueued;
      config.slice = 0;
    } else if (problem.head_dim < 64) {
      config.warpgroups = 4;
      config.block_n = fixed ? 128 : 96;
      config.polynomial = 1;
      config.q_buffers = 2;
      if (fixed && !problem.causal) config.uniform = wgmma::kReduced;
    } else if (problem.causal && !normalises) {
      config.warpgroups = 4;
      config.block_n = 64;
      config.stages = 3;
      config.slice = 0;
      config.overlap = wgmma::kQueued;
      config.ping_pong = 1;
      config.q_buffers = 2;
    } else if (problem.causal || problem.nk <= (normalises ? 4096 : 1024)) {
      config.warpgroups = 4;
      config.block_n = 64;
      config.stages = 3;
      config.slice = 32;
      config.q_in_registers = 1;
      if (!problem.causal) config.uniform = normalises ? wgmma::kSynced : wgmma::kReduced;
    } else if (fixed) {
      config.warpgroups = 3;
      config.stages = 3;
      config.q_in_registers = 1;
      if (normalises) config.key_norms = wgmma::kTogether;
    } else {
      config.warpgroups = 4;
      config.block_n = 96;
      config.q_buffers = 2;
    }
  }

  // A tile of the bias is as large as several of keys. Batches of a head are worked on together. Of windows,
  // which are a tile each, several are under way.
  static void add_bias(const Problem& problem, ForwardConfig& config) {
    config.head_group = 16;
    config.block_n = problem.head_dim <= 64 ? 128 : problem.head_dim <= 128 ? 96 : 32;
    if (problem.key_mask) config.block_n = std::min(config.block_n, problem.head_dim <= 64 ? 80 : 64);
    if (problem.nq > ForwardConfig::kRows) return;
    config.warpgroups = 1;
    config.block_n = std::min(config.block_n, problem.head_dim <= 128 ? 64 : 32);
    config.overlap = wgmma::kApart;
    config.q_buffers = 2;
    config.bias_stages = 2;
    if (problem.head_dim <= 128) config.min_blocks = 2;
  }

  // 64 channels and a mask: many warpgroups, since each waits for what the mask says of each tile.
  static void mask_narrow_heads(const Problem& problem, ForwardConfig& config) {
    const Traits traits = traits_of(problem);
    if (!traits.key_mask || traits.head_dim != 64 || problem.nq <= ForwardConfig::kRows) return;
    if (traits.bias != Bias::none) return;
    if (!ForwardConfig::normalises(traits) || traits.softmax != Softmax::fixed_bound) return;
    constexpr int kHeads = 4;
    if (config.head_tiles(shape_args(problem)) > kHeads) config.head_group = kHeads;
    config.ping_pong = 0;
    config.warpgroups = 4;
    config.block_n = 80;
    config.overlap = wgmma::kApart;
    config.q_buffers = 2;
    config.scale_queries = 0;
    config.key_norms = wgmma::kPrepass;
    config.uniform = wgmma::kReduced;
  }

  // From 80 to 96 channels.
  static void three_warpgroups(const Problem& problem, ForwardConfig& config) {
    config.warpgroups = 3;
    config.producer_registers = 32;
    config.overlap = wgmma::kQueued;
    normalise_long_walks(problem, problem.causal ? 4096 : 2048, config);
    const Traits traits = traits_of(problem);
    if (problem.key_mask) {
      config.block_n = ForwardConfig::normalises(traits) ? 96 : 80;  // with 1/|k| 80 leave too few registers
      if (!ForwardConfig::normalises(traits)) config.overlap = wgmma::kExponentials;
    } else if (config.uses_factors(traits)) {
      config.block_n = 96;
      config.stages = 3;
      config.q_buffers = 2;
      config.ping_pong = 1;
      if (!problem.causal) config.overlap = wgmma::kExponentials;
    } else {
      config.block_n = problem.causal ? 96 : 112;
      config.stages = problem.causal ? 3 : 2;
      config.q_buffers = 2;
      config.overlap = wgmma::kExponentials;
    }
  }

  // Which are made to take turns.
  static void two_warpgroups(const Problem& problem, ForwardConfig& config) {
    config.ping_pong = 1;
    if (problem.head_dim > 128) {
      config.block_n = problem.head_dim <= 192 ? 96 : 64;
    } else if (problem.key_mask) {
      config.q_buffers = 2;
    } else {
      config.stages = 3;
      config.q_in_registers = 1;
    }
    if (problem.head_dim > 64) normalise_long_walks(problem, 2048, config);
  }

  // From so many keys on, normalised keys in the workspace cost less than 1/|k| for every tile of queries.
  static void normalise_long_walks(const Problem& problem, int keys, ForwardConfig& config) {
    if (ForwardConfig::normalises(traits_of(problem)) && problem.nk >= keys)
      config.key_norms = problem.key_mask ? wgmma::kPrepass : wgmma::kTogether;
  }

  // Where tiles of queries are few, until blocks fill the device, as long as each has 8 tiles of keys: on an
  // H200 (D = 128, 8 heads, 512 queries) two parts of 8 tiles take 22 us where the whole takes 29, of 32
  // tiles 56 where the whole takes 98; two parts of 2 tiles take 14 where the whole takes 12. Not all SMs can
  // be in clusters of more than two: 32 of 4 blocks did not run at the same time (63 us).
  static void split_keys(const Problem& problem, const Target& target, ForwardConfig& config) {
    ForwardConfig wanted = config;
    wanted.persistent = 0;
    wanted.tensor_sums = 0;
    wanted.paired = problem.causal ? 0 : 1;
    wanted.q_buffers = 1;
    wanted.key_norms = wgmma::kProducer;
    if (wanted.warpgroups > 2) {  // the sum over the parts takes registers
      wanted.warpgroups = 3;
      wanted.block_n = problem.head_dim <= 64 ? 112 : 80;
      wanted.stages = 2;
      wanted.overlap = wgmma::kQueued;
      wanted.slice = 0;
      wanted.ping_pong = 0;
      wanted.q_in_registers = 0;
    }
    const long long work = wanted.work_count(traits_of(problem), shape_args(problem));
    const long long tiles = ceil_div(problem.nk, wanted.block_n);
    const auto fits = [&](int split) {
      const int blocks = split <= 2 ? target.multiprocessors : target.multiprocessors * 3 / 4;
      return split * work <= blocks && tiles >= 8LL * split;
    };
    while (wanted.split < 8 && fits(2 * wanted.split)) wanted.split *= 2;
    if (wanted.split > 1) config = wanted;
  }

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
