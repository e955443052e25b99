#include "kernels/cpu/backward_space.h"

#include "kernels/config_fields.h"
#include "kernels/cpu/baseline.h"

namespace fcsa::kernels::cpu {
namespace {

const std::vector<ConfigField<BackwardConfig>>& fields() {
  using C = BackwardConfig;
  static const std::vector<ConfigField<C>> fields = {
      {&C::vector_floats, "vector_floats", {4, 8, 16}, "floats in a vector"},
      {&C::score_rows, "score_rows", {4, 5, 6, 8, 12}, "query rows of a register tile of S and dP"},
      {&C::score_vectors, "score_vectors", {1, 2, 3, 4, 5}, "vectors of keys of a register tile of S and dP"},
      {&C::sum_rows, "sum_rows", {4, 5, 6, 8, 12, 24}, "keys of a register tile of dK and dV, rows of dQ"},
      {&C::sum_vectors, "sum_vectors", {1, 2, 3, 4, 5}, "vectors of channels of such a register tile"},
      {&C::row_groups, "row_groups", {4, 8, 12, 16}, "register tiles of query rows in a block"},
      {&C::key_steps, "key_steps", {1, 2, 3, 4, 6, 8, 12}, "register tiles of keys in a block"},
      {&C::unroll, "unroll", {1, 2, 4}, "steps of the inner loops that are written out"},
      {&C::key_splits,
       "key_splits",
       {0, 1, 2, 4, 8},
       "tasks that share the keys of a head, each with its own sum of dQ; 0: dQ comes from a second walk"},
  };
  return fields;
}

BackwardConfig config_of(const Configuration& configuration) {
  return to_struct(fields(), configuration);
}

bool fill_registers(int used, double least, const Target& target) {
  const int registers = vector_registers_of(target.arch);
  return used <= registers && used >= least * registers;
}

// Whether whole register tiles of `padded` rows are at most an eighth more than the `block` rows.
bool fit(int padded, int block) {
  return padded * 8 <= block * 9;
}

long long key_heads(const Problem& problem) {
  return static_cast<long long>(problem.batch) * problem.kv_heads;
}

// The part of the time that the cores are busy, with so many equal tasks.
double occupancy(long long tasks, int cores) {
  return static_cast<double>(tasks) / static_cast<double>(ceil_div(tasks, cores) * cores);
}

// Measured on Zen 2: what a second walk over the keys leaves of the speed when all cores are busy either way.
constexpr double kTwoWalks = 0.62;
constexpr double kBusy = 0.8;

int fewest_splits(const Problem& problem, const Target& target, const BackwardConfig& config) {
  const long long blocks = ceil_div(problem.nk, config.block_keys());
  int best = 1;
  double most = 0;
  for (int splits = 1; splits <= 8 && splits <= blocks; splits *= 2) {
    const double busy = occupancy(key_heads(problem) * splits, target.multiprocessors);
    if (busy > most) best = splits, most = busy;
    if (busy >= kBusy) break;
  }
  const double two_walks = kTwoWalks * occupancy(key_heads(problem) * blocks, target.multiprocessors);
  return two_walks > most ? 0 : best;
}

}  // namespace

std::vector<Parameter> backward_parameters() {
  return parameters_of(fields());
}

std::vector<Constraint> backward_constraints() {
  using P = const Problem&;
  using V = const BackwardConfig&;
  using D = const Target&;
  std::vector<ConfigRule<BackwardConfig>> rules = {
      {"vectors wider than the instruction set has, or less than half as wide",
       [](P, V c, D d) { return suits_vectors(d.arch, c.vector_floats); },
       {"vector_floats"}},
      {"head dimension is not a multiple of a register tile of sums",
       [](P p, V c, D) { return p.head_dim % c.sum_channels() == 0; },
       {"vector_floats", "sum_vectors"}},
      {"register tile of S above the vector registers, or leaves most of them unused",
       [](P, V c, D d) { return fill_registers(c.score_registers(), 2.0 / 3, d); },
       {"score_rows", "score_vectors"},
       RuleKind::worth},
      {"register tile of sums above the vector registers, or leaves most of them unused",
       [](P, V c, D d) { return fill_registers(c.sum_registers(), 0.5, d); },
       {"sum_rows", "sum_vectors"},
       RuleKind::worth},
      {"block of fewer than 16 or more than 128 rows",
       [](P, V c, D) { return c.block_rows() >= 16 && c.block_rows() <= 128; },
       {"score_rows", "row_groups"},
       RuleKind::worth},
      {"block of fewer than 32 or more than 256 keys",
       [](P, V c, D) { return c.block_keys() >= 32 && c.block_keys() <= 256; },
       {"vector_floats", "score_vectors", "key_steps"},
       RuleKind::worth},
      {"register tiles of sums go far beyond the rows or the keys of a block",
       [](P, V c, D) { return fit(c.padded_rows(), c.block_rows()) && fit(c.padded_keys(), c.block_keys()); },
       {"vector_floats", "score_rows", "score_vectors", "sum_rows", "row_groups", "key_steps"},
       RuleKind::worth},
      {"working set above four times the level 2 cache",
       [](P p, V c, D d) {
         const auto bytes = static_cast<std::size_t>(c.scratch_bytes(traits_of(p)));
         return d.l2_bytes == 0 || bytes <= 4 * d.l2_bytes;
       },
       {"vector_floats", "score_rows", "score_vectors", "sum_rows", "row_groups", "key_steps"},
       RuleKind::worth},
      {"more steps written out than the channels divide into",
       [](P p, V c, D) { return p.head_dim % c.unroll == 0; },
       {"unroll"}},
      {"more parts than there are blocks of keys",
       [](P p, V c, D) { return c.key_splits <= 1 || c.key_splits <= ceil_div(p.nk, c.block_keys()); },
       {"vector_floats", "score_vectors", "key_steps", "key_splits"},
       RuleKind::worth_here},
      {"more sums of dQ than it takes to occupy the cores twice over",
       [](P p, V c, D d) {
         return c.key_splits <= 1 || key_heads(p) * c.key_splits < 4LL * d.multiprocessors;
       },
       {"key_splits"},
       RuleKind::worth_here},
  };
  return constraints_of(fields(), std::move(rules));
}

Configuration backward_baseline(std::string kernel, const Problem& problem, const Target& target) {
  BackwardConfig config = backward_baseline_config(target.arch, problem.head_dim);
  config.key_splits = fewest_splits(problem, target, config);
  return from_struct(fields(), std::move(kernel), config);
}

BackwardConfig backward_config_of(const Configuration& configuration) {
  return config_of(configuration);
}

}  // namespace fcsa::kernels::cpu
