#include "kernels/wgmma/backward_space.h"

#include "kernels/config_fields.h"

namespace fcsa::kernels::wgmma {
namespace {

const std::vector<ConfigField<BackwardConfig>>& fields() {
  using C = BackwardConfig;
  static const std::vector<ConfigField<BackwardConfig>> fields = {
      {&C::warpgroups, "warpgroups", {1, 2}, "warpgroups that own keys, 64 each"},
      {&C::block_m, "block_m", {64, 128}, "queries of a tile"},
      {&C::key_stages, "key_stages", {1, 2}, "tiles of K and V in flight"},
      {&C::stages, "stages", {2, 3, 4}, "tiles of Q and dO in flight"},
      {&C::score_buffers, "score_buffers", {1, 2}, "places for dS on its way to dQ"},
      {&C::k_in_registers, "k_in_registers", {0, 1}, "1: K in registers, 0: read from shared memory"},
      {&C::v_in_registers, "v_in_registers", {0, 1}, "1: V in registers, 0: read from shared memory"},
      {&C::early, "early", {0, 1}, "dP is issued 1: behind S, 0: behind P"},
      {&C::queued, "queued", {0, 1}, "S of the next tile: 1 queued behind dK, 0 when dK is done"},
      {&C::dq_columns, "dq_columns", {32, 64, 80, 96, 112, 128}, "channels of a product for dQ, at most"},
      {&C::dq_registers, "dq_registers", {64, 72, 88, 96}, "of a thread of the warpgroup that computes dQ"},
      {&C::dq_bulk, "dq_bulk", {0, 1}, "dQ is added 1: by the TMA, 0: from registers"},
      {&C::schedule,
       "schedule",
       {0, 1, 2},
       "blocks take tiles of keys: 0 one each, 1 in turn, 2 the next when they are done"},
      {&C::head_group, "head_group", {0, 1, 4, 16}, "heads worked on at the same time; 0: all"},
  };
  return fields;
}

bool valid(const Problem& problem, const BackwardConfig& config, const Target& target) {
  const Configuration configuration = from_struct(fields(), "wgmma.backward", config);
  return invalid_reason(backward_constraints(), problem, configuration, target).empty();
}

}  // namespace

BackwardConfig backward_config_of(const Configuration& configuration) {
  return to_struct(fields(), configuration);
}

std::vector<Parameter> backward_parameters() {
  return parameters_of(fields());
}

std::vector<Constraint> backward_constraints() {
  using P = const Problem&;
  using V = const BackwardConfig&;
  using D = const Target&;
  std::vector<ConfigRule<BackwardConfig>> rules = {
      {"accumulators and operands above the registers of a warpgroup that owns keys",
       [](P p, V c, D) { return c.register_estimate(traits_of(p)) <= c.consumer_registers(); },
       {"warpgroups", "block_m", "k_in_registers", "v_in_registers", "early", "queued", "dq_registers"}},
      {"accumulators above the registers of the warpgroup that computes dQ",
       [](P p, V c, D) { return c.dq_register_estimate(traits_of(p)) <= c.dq_registers; },
       {"dq_columns", "dq_registers"}},
      {"channels of a product for dQ are those of another choice",
       [](P p, V c, D) {
         const int width = c.dq_width(traits_of(p)), columns = c.dq_columns;
         return columns == width || (columns == BackwardConfig{}.dq_columns && (width < 32 || width == 48));
       },
       {"dq_columns"}},
      {"more shared memory than a block may have",
       [](P p, V c, D d) {
         return static_cast<std::size_t>(c.smem_bytes(traits_of(p))) <= d.smem_per_block_bytes;
       },
       {"warpgroups", "block_m", "key_stages", "stages", "score_buffers", "dq_columns", "dq_bulk"}},
      {"a place for the next tile of keys in blocks that have one tile",
       [](P, V c, D) { return c.schedule != kOneEach || c.key_stages == 1; },
       {"key_stages", "schedule"}},
      {"half of a block's keys are past the end",
       [](P p, V c, D) { return c.warpgroups == 1 || c.block_n() / 2 < p.nk; },
       {"warpgroups"},
       RuleKind::worth_here},
      {"half of a tile's queries are past the end",
       [](P p, V c, D) { return c.block_m <= 64 || c.block_m / 2 < p.nq; },
       {"block_m"},
       RuleKind::worth_here},
      {"a group of all heads",
       [](P p, V c, D) { return c.head_group <= 1 || c.head_group < p.batch * p.kv_heads; },
       {"head_group"},
       RuleKind::worth_here},
  };
  return constraints_of(fields(), std::move(rules));
}

std::string backward_unsupported(const Problem& problem) {
  if (problem.bias != Bias::none) return "wgmma's backward pass has no bias: mma serves it";
  if (problem.head_dim > 128) return "wgmma's backward pass serves up to 128 channels: mma serves more";
  if (problem.deterministic)
    return "wgmma's backward pass adds up dQ in the order in which blocks come to it: mma serves "
           "deterministic problems";
  if (problem.l2norm_qk && problem.head_dim / problem.groups % 8 != 0)
    return "wgmma's backward pass normalises groups of a multiple of 8 channels: simt serves others";
  return {};
}

// As an H200 likes it best. Above 64 channels the registers are too few for K and V, and for dP beside P and
// dS.
Configuration backward_baseline(const Problem& problem, const Target& target) {
  BackwardConfig config;
  config.queued = 0;
  config.stages = 3;
  config.dq_bulk = 1;
  if (problem.head_dim <= 64) {
    config.key_stages = 2;
    config.k_in_registers = config.v_in_registers = 1;
    if (problem.head_dim == 32) config.dq_columns = 32;
  } else {
    config.early = 0;
    if (problem.head_dim > 96) config.stages = 2;
    if (problem.head_dim < 128) {
      config.dq_columns = problem.head_dim;
      config.dq_registers = problem.head_dim <= 96 ? 88 : 96;
    }
  }
  if (problem.nk <= BackwardConfig::kRows) config.warpgroups = 1;
  config.head_group = problem.batch * problem.kv_heads > 4 ? 4 : 1;
  while (config.stages > 2 && !valid(problem, config, target)) --config.stages;
  return from_struct(fields(), "wgmma.backward", config);
}

}  // namespace fcsa::kernels::wgmma
