#include "kernels/mma/backward_space.h"

#include <algorithm>

#include "kernels/config_fields.h"

namespace fcsa::kernels::mma {
namespace {

const std::vector<ConfigField<BackwardConfig>>& fields() {
  using C = BackwardConfig;
  static const std::vector<ConfigField<BackwardConfig>> fields = {
      {&C::warps, "warps", {2, 4, 8}, "warps of a block of keys"},
      {&C::parts, "parts", {1, 2, 4}, "warps that share keys, and split queries and channels"},
      {&C::key_tiles, "key_tiles", {1, 2, 4}, "tiles of 16 keys in a warp"},
      {&C::block_m, "block_m", {16, 32, 64, 128}, "queries of a tile"},
      {&C::chunk, "chunk", {16, 32, 64}, "queries of S and dP that a warp holds in registers at a time"},
      {&C::stages, "stages", {1, 2, 3}, "tiles of Q and dO in flight"},
      {&C::resident, "resident", {0, 1}, "1: K and V in registers, 0: read from shared memory"},
      {&C::score_buffers, "score_buffers", {1, 2}, "buffers of dS and P: 2 leave one barrier a tile"},
      {&C::min_blocks, "min_blocks", {1, 2, 3}, "blocks per multiprocessor to leave registers for"},
      {&C::dq, "dq", {0, 1}, "dQ: 0 by a second pass, 1 by atomics, whose rounding differs from run to run"},
      {&C::dq_tiles, "dq_tiles", {1, 2}, "atomics: tiles of 16 queries of dQ in a warp"},
      {&C::query_warps, "query_warps", {2, 4, 8}, "warps of a block of queries"},
      {&C::query_tiles, "query_tiles", {1, 2}, "tiles of 16 queries in a warp"},
      {&C::query_block_n, "query_block_n", {16, 32, 64, 128}, "keys of a tile of the second pass"},
      {&C::query_stages, "query_stages", {1, 2, 3}, "tiles of K and V in flight in the second pass"},
      {&C::query_resident, "query_resident", {0, 1}, "1: Q and dO in registers in the second pass"},
      {&C::query_min_blocks, "query_min_blocks", {1, 2, 3}, "blocks per multiprocessor of the second pass"},
      {&C::head_group, "head_group", {0, 1, 4, 16, 64}, "heads of which blocks start together; 0: all"},
      {&C::read_index,
       "read_index",
       {0, 1},
       "how a thread finds its place again: 1: by its number, 0: an exchange"},
  };
  return fields;
}

bool fits(std::size_t smem_bytes, const Target& target, int blocks) {
  if (smem_bytes > target.smem_per_block_bytes) return false;
  return static_cast<std::size_t>(blocks) * (smem_bytes + 1024) <= target.smem_per_block_bytes + 1024;
}

bool has_registers(int estimate, int threads, int blocks) {
  return estimate <= std::min(255, 65536 / (threads * blocks));
}

// Whether the channels, and their groups, divide into parts.
bool divides(const Problem& problem, int parts) {
  return problem.head_dim % (16 * parts) == 0 &&
         (!problem.l2norm_qk || problem.groups == 1 || problem.groups % parts == 0);
}

// Whether the queries' shape serves a pass over the keys, or only the conversion of dQ.
bool walks_queries(const Problem& problem, const BackwardConfig& config) {
  return config.dq == kSecondPass || problem.bias_gradient;
}

bool valid(const Problem& problem, const BackwardConfig& config, const Target& target) {
  const Configuration configuration = from_struct(fields(), "mma.backward", config);
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
      {"dQ by atomics adds in another order every time, and the problem is to be deterministic",
       [](P p, V c, D) { return !p.deterministic || c.dq == kSecondPass; },
       {"dq"}},
      // Five products instead of seven: on an H100 227 instead of 172 TFLOP/s at 128 channels.
      {"a second pass for dQ, and the problem is not to be deterministic",
       [](P p, V c, D) { return p.deterministic || c.dq == kAtomics; },
       {"dq"},
       RuleKind::worth},
      {"chunk longer than a warp's part of the tile",
       [](P, V c, D) { return c.chunk * c.parts <= c.block_m; },
       {"parts", "block_m", "chunk"}},
      {"channels or their groups don't divide into the parts",
       [](P p, V c, D) { return c.warps % c.parts == 0 && divides(p, c.parts); },
       {"warps", "parts"}},
      {"accumulators and operands of the keys above the registers of a thread",
       [](P p, V c, D) {
         return has_registers(c.keys_registers(traits_of(p)), c.keys().threads(), c.min_blocks);
       },
       {"warps", "parts", "key_tiles", "chunk", "resident", "min_blocks"},
       RuleKind::worth},
      {"shared memory of the keys' blocks above what a multiprocessor has",
       [](P p, V c, D d) {
         return fits(static_cast<std::size_t>(c.keys_smem_bytes(traits_of(p))), d, c.min_blocks);
       },
       {"warps", "parts", "key_tiles", "block_m", "stages", "score_buffers", "min_blocks", "dq"}},
      {"dQ of a tile doesn't divide into the warps",
       [](P p, V c, D) {
         if (c.dq != kAtomics) return c.dq_tiles == 1;
         const int rows = 16 * c.dq_tiles;
         return c.block_m % rows == 0 && p.head_dim % (16 * c.dq_parts()) == 0 &&
                c.block_m / rows * c.dq_parts() % c.warps == 0;
       },
       {"warps", "block_m", "dq", "dq_tiles"}},
      {"two buffers are for three stages, and for warps that exchange something",
       [](P, V c, D) { return c.score_buffers == 1 || (c.stages >= 3 && c.exchanged() != 0); },
       {"parts", "stages", "score_buffers", "dq"}},
      {"half of a block's keys are past the end",
       [](P p, V c, D) { return c.keys().rows() <= 64 || c.keys().rows() / 2 < p.nk; },
       {"warps", "parts", "key_tiles"},
       RuleKind::worth_here},
      {"half of a tile's queries are past the end",
       [](P p, V c, D) { return c.block_m <= 32 || c.block_m / 2 < p.nq; },
       {"block_m"},
       RuleKind::worth_here},
      {"accumulators and operands of the queries above the registers of a thread",
       [](P p, V c, D) {
         return c.dq != kSecondPass ||
                has_registers(c.queries_registers(traits_of(p)), c.queries().threads(), c.query_min_blocks);
       },
       {"dq", "query_warps", "query_tiles", "query_block_n", "query_resident", "query_min_blocks"},
       RuleKind::worth},
      {"shared memory of the queries' blocks above what a multiprocessor has",
       [](P p, V c, D d) {
         return c.dq != kSecondPass ||
                fits(static_cast<std::size_t>(c.queries_smem_bytes(traits_of(p))), d, c.query_min_blocks);
       },
       {"dq", "query_warps", "query_tiles", "query_block_n", "query_stages", "query_min_blocks"}},
      {"there is no second pass to tune",
       [](P p, V c, D) {
         const BackwardConfig usual;
         return walks_queries(p, c) ||
                (c.query_block_n == usual.query_block_n && c.query_stages == usual.query_stages &&
                 c.query_tiles == usual.query_tiles && c.query_resident == usual.query_resident &&
                 c.query_min_blocks == usual.query_min_blocks);
       },
       {"dq", "query_tiles", "query_block_n", "query_stages", "query_resident", "query_min_blocks"},
       RuleKind::worth},
      // dS of the whole tile stays in registers until all that share the bias have been added.
      {"gradients of a tile of the bias above the registers of a thread",
       [](P p, V c, D) {
         return !p.bias_gradient || has_registers(c.bias_registers(traits_of(p)), c.queries().threads(), 1);
       },
       {"query_warps", "query_tiles", "query_block_n", "query_resident"},
       RuleKind::worth},
      {"shared memory of the bias' blocks above what a multiprocessor has",
       [](P p, V c, D d) {
         return !p.bias_gradient ||
                fits(static_cast<std::size_t>(c.bias_loop_bytes(traits_of(p), c.queries())), d, 1);
       },
       {"query_warps", "query_tiles", "query_block_n", "query_stages"}},
  };
  return constraints_of(fields(), std::move(rules));
}

std::string backward_unsupported(const Problem& problem) {
  if (problem.dtype == DType::f32) return "mma's backward pass takes bf16 and f16: simt serves f32";
  if (problem.l2norm_qk && problem.head_dim / problem.groups % 8 != 0)
    return "mma's backward pass normalises groups of a multiple of 8 channels: simt serves others";
  if (problem.head_dim > 176 && !divides(problem, 2))
    return "mma's backward pass serves more than 176 channels where they, and their groups, divide into two: "
           "simt "
           "serves others";
  return {};
}

// The first that is valid of shapes from large to small. Registers: the limits of causal problems and a bias
// take some that the estimates don't count.
Configuration backward_baseline(const Problem& problem, const Target& target) {
  struct Keys {
    int warps, parts, key_tiles, block_m, chunk, stages, most_channels;
  };
  struct Queries {
    int warps, block_n, stages;
  };
  // On an H100, D = 64, 4k keys: 310 TFLOP/s with 32 keys a warp; D = 128: 315 with warps that share keys and
  // three stages, 294 with two. read_index there: full 327 instead of 319 (16k), causal 303 instead of 317
  // (8k).
  const Keys most_keys[] = {{4, 1, 2, 64, 32, 2, 64},  {4, 1, 2, 64, 16, 2, 80},  {8, 2, 2, 64, 32, 3, 128},
                            {8, 2, 1, 64, 16, 2, 128}, {8, 1, 1, 64, 16, 2, 112}, {8, 2, 1, 32, 16, 2, 256},
                            {4, 1, 1, 64, 16, 2, 176}, {4, 2, 1, 32, 16, 2, 256}, {4, 1, 1, 32, 16, 2, 176},
                            {2, 2, 1, 32, 16, 2, 256}, {2, 1, 1, 32, 16, 2, 176}};
  const Queries most_queries[] = {{4, 64, 2}, {4, 32, 2}, {4, 32, 1}, {4, 16, 1}, {2, 16, 1}};
  BackwardConfig config;
  config.dq = problem.deterministic ? kSecondPass : kAtomics;
  for (const Keys& keys : most_keys)
    for (int stages = keys.stages; stages > 0; --stages)
      for (const Queries& queries : most_queries)
        for (const int dq_tiles : {2, 1}) {
          if (problem.head_dim > keys.most_channels) continue;
          if (dq_tiles > keys.key_tiles || (dq_tiles > 1 && config.dq == kSecondPass)) continue;
          config.warps = keys.warps, config.parts = keys.parts, config.key_tiles = keys.key_tiles;
          config.block_m = keys.block_m, config.chunk = keys.chunk, config.stages = stages;
          config.dq_tiles = dq_tiles;
          config.read_index = keys.parts > 1 && !problem.causal;
          // Shorter tiles, since a tile has its bias with it: two blocks fit on a multiprocessor, 259 TFLOP/s
          // instead of 184.
          if (problem.bias != Bias::none) {
            config.block_m = std::min(config.block_m, 32);
            config.chunk = std::min(config.chunk, config.block_m / config.parts);
          }
          config.score_buffers = stages > 2 && config.exchanged() > 0 ? 2 : 1;
          if (walks_queries(problem, config)) {
            config.query_warps = queries.warps, config.query_block_n = queries.block_n;
            config.query_stages = queries.stages;
          }
          if (valid(problem, config, target)) return from_struct(fields(), "mma.backward", config);
        }
  return from_struct(fields(), "mma.backward", config);
}

}  // namespace fcsa::kernels::mma
