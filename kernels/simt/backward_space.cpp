#include "kernels/simt/backward_space.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>

namespace fcsa::kernels::simt {
namespace {

// One of the two passes: where its shape is in a configuration, and how many gradients it sums.
struct Role {
  std::string_view prefix;
  PassShape (BackwardConfig::*shape)() const;
  int gradients;
};

constexpr Role kKeys{"key", &BackwardConfig::keys, 2};
constexpr Role kQueries{"query", &BackwardConfig::queries, 1};

// A shape in its place.
struct Use {
  const PassShape& shape;
  const Role& role;
  const Problem& problem;
  const Target& target;

  int register_estimate() const { return shape.register_estimate(problem.head_dim, role.gradients); }
  int registers() const { return std::min(255, 65536 / (shape.min_blocks * shape.threads())); }
  // Blocks whose shared memory a multiprocessor has: 1 KB more than a block may have, 1 KB of it for each
  // block.
  int blocks_by_memory() const {
    const auto block = static_cast<std::size_t>(shape.smem_bytes(problem.head_dim)) + 1024;
    return static_cast<int>((target.smem_per_block_bytes + 1024) / block);
  }
};

// A constraint on the shape of either pass.
struct ShapeRule {
  std::string_view reason;
  bool (*holds)(const Use& use);
  std::vector<std::string_view> reads;
  RuleKind kind = RuleKind::must;
};

const std::vector<ShapeRule>& rules() {
  static const std::vector<ShapeRule> rules = {
      {"lanes without channels",
       [](const Use& u) { return 4 * u.shape.channel_lanes <= u.problem.head_dim; },
       {"channel_lanes"}},
      {"rows of a warp don't divide into lanes",
       [](const Use& u) { return u.shape.warp_rows() % u.shape.row_lanes() == 0; },
       {"lanes_m", "thread_m", "channel_lanes"}},
      {"fewer than 8 or more than 256 rows",
       [](const Use& u) { return u.shape.block_m() >= 8 && u.shape.block_m() <= 256; },
       {"warps", "lanes_m", "thread_m"}},
      {"micro-tiles of fewer than 8 pairs, where there are registers for more",
       [](const Use& u) { return u.shape.thread_m * u.shape.thread_n >= 8 || u.problem.head_dim > 128; },
       {"thread_m", "thread_n"},
       RuleKind::worth},
      {"asynchronous stages need sm_80",
       [](const Use& u) { return u.target.compute_capability >= 80 || u.shape.stages == 1; },
       {"stages"}},
      // 256 threads of 255 registers take all that a multiprocessor has.
      {"min_blocks that cap no registers",
       [](const Use& u) { return u.shape.min_blocks == 1 || u.registers() < 255; },
       {"warps", "min_blocks"},
       RuleKind::worth},
      {"more than 16 warps on a multiprocessor",
       [](const Use& u) { return u.shape.warps * u.shape.min_blocks <= 16; },
       {"warps", "min_blocks"}},
      {"sums and operands above the registers that min_blocks leaves a thread",
       [](const Use& u) { return u.register_estimate() <= u.registers(); },
       {"warps", "lanes_m", "thread_m", "thread_n", "channel_lanes", "min_blocks"},
       RuleKind::worth},
      {"more shared memory than min_blocks blocks may have",
       [](const Use& u) { return u.blocks_by_memory() >= u.shape.min_blocks; },
       {"warps", "lanes_m", "thread_m", "thread_n", "channel_lanes", "stages", "min_blocks"}},
  };
  return rules;
}

Constraint constraint(const ShapeRule& rule, const Role& role) {
  Constraint constraint;
  constraint.reason = std::string(role.prefix) + " tiles: " + std::string(rule.reason);
  constraint.holds = [&rule, &role](const Problem& problem, const Configuration& configuration,
                                    const Target& target) {
    const BackwardConfig config = to_struct(backward_fields(), configuration);
    if (config.dq_atomics && &role == &kQueries) return true;
    const PassShape shape = (config.*role.shape)();
    return rule.holds({shape, role, problem, target});
  };
  constraint.kind = rule.kind;
  constraint.reads.push_back("dq_atomics");
  for (const auto name : rule.reads)
    constraint.reads.push_back(std::string(role.prefix) + "_" + std::string(name));
  return constraint;
}

Constraint unused_with_atomics(const ConfigField<BackwardConfig>& field) {
  Constraint constraint;
  constraint.reason = "dq_atomics has a shape of its own for queries";
  constraint.holds = [&field](const Problem&, const Configuration& configuration, const Target&) {
    const BackwardConfig config = to_struct(backward_fields(), configuration);
    return !config.dq_atomics || config.*field.field == BackwardConfig{}.*field.field;
  };
  constraint.reads = {"dq_atomics", field.name};
  constraint.kind = RuleKind::worth;
  return constraint;
}

// What a pass takes, in instructions of a warp and in arbitrary units: to choose between shapes. Reading 16
// bytes of shared memory takes as long as four multiplications; more warps hide more of each other's latency.
double estimated_time(const Use& use) {
  constexpr double kRead = 4, kLatency = 3, kRolled = 1.05;
  const PassShape& s = use.shape;
  const int chunks = s.channel_chunks(use.problem.head_dim), rows = s.thread_rows();
  const double products =
      use.problem.head_dim / 4.0 * (4 * s.thread_m * s.thread_n + kRead * (s.thread_m + s.thread_n));
  const double sums = s.block_n() / 4.0 * (16 * rows * chunks + kRead * (rows + 4 * chunks));
  const double pair = (2 * products + use.role.gradients * sums) / (s.warp_rows() * s.block_n());

  const bool keys = &use.role == &kKeys;
  const double tiles = static_cast<double>(ceil_div(keys ? use.problem.nk : use.problem.nq, s.block_m())) *
                       use.problem.batch * (keys ? use.problem.kv_heads : use.problem.heads);
  const int by_registers = std::max(1, 65536 / (use.registers() + 1) / s.threads());
  const double blocks = std::min(by_registers, use.blocks_by_memory());
  const double resident = std::min(blocks, std::ceil(tiles / use.target.multiprocessors));
  const double waves = std::ceil(tiles / (use.target.multiprocessors * blocks));
  return waves * resident * s.block_m() * pair * (1 + kLatency / (s.warps * resident)) *
         (s.unroll > 1 ? 1 : kRolled);
}

// Whether nothing spills, which takes more registers than the estimate. Loads of the bias are all under way
// at once.
bool has_spare_registers(const Use& use) {
  const PassShape& s = use.shape;
  const int unrolled = s.unroll > 1 ? 20 : 8;
  // A mask is selected by beside it.
  const int mask = use.problem.key_mask ? 16 : 0;
  const int bias = use.problem.bias == Bias::none ? 0 : 8 + s.thread_m * s.thread_n / 2 + mask;
  const int idle_lanes = use.problem.head_dim % (4 * s.channel_lanes) == 0 ? 0 : 8;
  return use.register_estimate() + unrolled + bias + idle_lanes <= use.registers();
}

template <typename Visit>
void for_each_shape(const Visit& visit) {
  for (const int warps : {2, 4, 8})
    for (const int lanes_m : {4, 8})
      for (const int thread_m : {1, 2, 4, 8})
        for (const int thread_n : {1, 2, 4, 8})
          for (const int channel_lanes : {4, 8, 16, 32})
            for (const int min_blocks : {1, 2, 3, 4})
              for (const int unroll : {1, 2})
                visit(PassShape{.warps = warps,
                                .lanes_m = lanes_m,
                                .thread_m = thread_m,
                                .thread_n = thread_n,
                                .channel_lanes = channel_lanes,
                                .min_blocks = min_blocks,
                                .unroll = unroll});
}

PassShape fastest_shape(const Role& role, const Problem& problem, const Target& target) {
  PassShape fastest;
  double least = std::numeric_limits<double>::infinity();
  for_each_shape([&](const PassShape& shape) {
    const Use use{shape, role, problem, target};
    if (!std::all_of(rules().begin(), rules().end(),
                     [&](const ShapeRule& rule) { return rule.holds(use); }) ||
        !has_spare_registers(use))
      return;
    const double time = estimated_time(use);
    if (time >= least) return;
    least = time;
    fastest = shape;
  });
  return fastest;
}

}  // namespace

const std::vector<ConfigField<BackwardConfig>>& backward_fields() {
  using C = BackwardConfig;
  static const std::vector<ConfigField<BackwardConfig>> fields = {
      {&C::dq_atomics,
       "dq_atomics",
       {0, 1},
       "1: dq by atomic additions, 5 products instead of 7: results differ from run to run"},
      {&C::key_warps, "key_warps", {2, 4, 8}, "pass that owns keys: warps of a block"},
      {&C::key_lanes_m, "key_lanes_m", {4, 8}, "lanes over keys of a tile; 32 / key_lanes_m over queries"},
      {&C::key_thread_m, "key_thread_m", {1, 2, 4, 8}, "keys per lane"},
      {&C::key_thread_n, "key_thread_n", {1, 2, 4, 8}, "queries per lane"},
      {&C::key_channel_lanes, "key_channel_lanes", {4, 8, 16, 32}, "lanes over channels of dk and dv"},
      {&C::key_stages, "key_stages", {1, 2}, "Q and dO tiles in flight"},
      {&C::key_min_blocks,
       "key_min_blocks",
       {1, 2, 3, 4},
       "blocks per multiprocessor to leave registers for"},
      {&C::key_unroll, "key_unroll", {1, 2}, "unrolling of the inner loops, in steps of 4"},
      {&C::query_warps, "query_warps", {2, 4, 8}, "pass that owns queries: warps of a block"},
      {&C::query_lanes_m,
       "query_lanes_m",
       {4, 8},
       "lanes over queries of a tile; 32 / query_lanes_m over keys"},
      {&C::query_thread_m, "query_thread_m", {1, 2, 4, 8}, "queries per lane"},
      {&C::query_thread_n, "query_thread_n", {1, 2, 4, 8}, "keys per lane"},
      {&C::query_channel_lanes, "query_channel_lanes", {4, 8, 16, 32}, "lanes over channels of dq"},
      {&C::query_stages, "query_stages", {1, 2}, "K and V tiles in flight"},
      {&C::query_min_blocks, "query_min_blocks", {1, 2, 3, 4}, "blocks per multiprocessor, as above"},
      {&C::query_unroll, "query_unroll", {1, 2}, "unrolling of the inner loops, in steps of 4"},
  };
  return fields;
}

std::vector<Constraint> backward_constraints() {
  auto constraints = constraints_of<BackwardConfig>(
      backward_fields(), {{"atomics add in another order every time, and the problem is to be deterministic",
                           [](const Problem& problem, const BackwardConfig& config, const Target&) {
                             return !problem.deterministic || config.dq_atomics == 0;
                           },
                           {"dq_atomics"}}});
  for (const Role* role : {&kKeys, &kQueries})
    for (const ShapeRule& rule : rules()) constraints.push_back(constraint(rule, *role));
  for (const auto& field : backward_fields())
    if (field.name.starts_with(kQueries.prefix)) constraints.push_back(unused_with_atomics(field));
  return constraints;
}

BackwardConfig backward_baseline(const Problem& problem, const Target& target) {
  const PassShape keys = fastest_shape(kKeys, problem, target);
  const PassShape queries = fastest_shape(kQueries, problem, target);
  BackwardConfig config;
  config.key_warps = keys.warps, config.query_warps = queries.warps;
  config.key_lanes_m = keys.lanes_m, config.query_lanes_m = queries.lanes_m;
  config.key_thread_m = keys.thread_m, config.query_thread_m = queries.thread_m;
  config.key_thread_n = keys.thread_n, config.query_thread_n = queries.thread_n;
  config.key_channel_lanes = keys.channel_lanes, config.query_channel_lanes = queries.channel_lanes;
  config.key_min_blocks = keys.min_blocks, config.query_min_blocks = queries.min_blocks;
  config.key_unroll = keys.unroll, config.query_unroll = queries.unroll;
  return config;
}

}  // namespace fcsa::kernels::simt
