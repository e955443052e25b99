#include "kernels/simt/backward_space.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>

namespace fcsa::kernels::simt {
namespace {

// One of the two passes: where its shape is in a configuration, and how many gradients it sums.
struct PassOf {
  std::string_view prefix;
  PassShape (BackwardConfig::*shape)() const;
  int gradients;

  PassShape of(const Configuration& configuration) const {
    return (to_struct(backward_fields(), configuration).*shape)();
  }
  // Names of its parameters.
  std::vector<std::string> named(std::vector<std::string> parameters) const {
    for (auto& name : parameters) name = std::string(prefix) + "_" + name;
    return parameters;
  }
};

constexpr PassOf kKeys{"key", &BackwardConfig::keys, 2};
constexpr PassOf kQueries{"query", &BackwardConfig::queries, 1};

bool divides_into_lanes(const PassShape& shape) {
  return shape.warp_rows() % shape.row_lanes() == 0;
}

bool fits_shared_memory(const PassShape& shape, const Problem& problem, const Target& target) {
  // A multiprocessor has 1 KB more than a block may have, and uses 1 KB for each block.
  const std::size_t block = static_cast<std::size_t>(shape.smem_bytes(problem.head_dim)) + 1024;
  return static_cast<std::size_t>(shape.min_blocks) * block <= target.smem_per_block_bytes + 1024;
}

// With `spare` registers left.
bool fits_registers(const PassShape& shape, const Problem& problem, int gradients, int spare = 0) {
  const int registers = std::min(255, 65536 / (shape.min_blocks * shape.threads()));
  return shape.register_estimate(problem.head_dim, gradients) + spare <= registers;
}

std::vector<Constraint> constraints_of(const PassOf& pass) {
  using P = const Problem&;
  using V = const Configuration&;
  using D = const Target&;
  const std::string of = std::string(pass.prefix) + " tiles: ";
  return {
      {of + "rows of a warp don't divide into lanes",
       [pass](P, V c, D) { return divides_into_lanes(pass.of(c)); },
       pass.named({"lanes_m", "thread_m", "channel_lanes"})},
      {of + "lanes without channels",
       [pass](P p, V c, D) { return 4 * pass.of(c).channel_lanes <= p.head_dim; },
       pass.named({"channel_lanes"})},
      {of + "fewer than 8 or more than 256 rows",
       [pass](P, V c, D) { return pass.of(c).block_m() >= 8 && pass.of(c).block_m() <= 256; },
       pass.named({"warps", "lanes_m", "thread_m"})},
      {of + "asynchronous stages need sm_80",
       [pass](P, V c, D d) { return d.compute_capability >= 80 || pass.of(c).stages == 1; },
       pass.named({"stages"})},
      {of + "sums and operands above the registers that min_blocks leaves a thread",
       [pass](P p, V c, D) { return fits_registers(pass.of(c), p, pass.gradients); },
       pass.named({"warps", "lanes_m", "thread_m", "thread_n", "channel_lanes", "min_blocks"})},
      {of + "more shared memory than min_blocks blocks may have",
       [pass](P p, V c, D d) { return fits_shared_memory(pass.of(c), p, d); },
       pass.named({"warps", "lanes_m", "thread_m", "thread_n", "channel_lanes", "stages", "min_blocks"})},
  };
}

// Instructions that a warp issues for each pair of rows: multiplications, and 16-byte reads of shared memory,
// which take as long as four of them.
double pair_cost(const PassShape& shape, int head_dim, int gradients) {
  constexpr double kRead = 4;
  const int m = shape.thread_m, n = shape.thread_n, rows = shape.thread_rows();
  const int chunks = shape.channel_chunks(head_dim);
  const double products = head_dim / 4.0 * (4 * m * n + kRead * (m + n));
  const double sums = shape.block_n() / 4.0 * (16 * rows * chunks + kRead * (rows + 4 * chunks));
  return (2 * products + gradients * sums) / (shape.warp_rows() * shape.block_n());
}

// What a pass over `rows` rows of each of `heads` heads takes, for each row of the other kind. More warps
// hide more of each other's latency.
double estimate(const PassShape& shape, const Problem& problem, const Target& target, const PassOf& pass) {
  const bool keys = &pass == &kKeys;
  const double blocks = static_cast<double>(ceil_div(keys ? problem.nk : problem.nq, shape.block_m())) *
                        problem.batch * (keys ? problem.kv_heads : problem.heads);
  const double waves = std::ceil(blocks / (target.multiprocessors * shape.min_blocks));
  const double resident = std::min<double>(shape.min_blocks, std::ceil(blocks / target.multiprocessors));
  const double warps = shape.warps * resident;
  return waves * resident * shape.block_m() * pair_cost(shape, problem.head_dim, pass.gradients) *
         (1 + 3 / warps) * (shape.unroll > 1 ? 1 : 1.05);
}

// Registers on top of the estimate with which nothing spills. Loads of the bias are all under way at once.
int spare_registers(const PassShape& shape, const Problem& problem) {
  const int unrolled = shape.unroll > 1 ? 20 : 8;
  const int bias = problem.bias == Bias::none ? 0 : 8 + shape.thread_m * shape.thread_n / 2;
  const int idle_lanes = problem.head_dim % (4 * shape.channel_lanes) == 0 ? 0 : 8;
  return unrolled + bias + idle_lanes;
}

template <typename Visit>
void for_each_shape(const Visit& visit) {
  for (const int warps : {2, 4, 8})
    for (const int thread_m : {1, 2, 4, 6, 8})
      for (const int thread_n : {1, 2, 4, 8})
        for (const int channel_lanes : {4, 8, 16, 32})
          for (const int min_blocks : {1, 2, 3, 4})
            for (const int unroll : {1, 2})
              visit(PassShape{.warps = warps,
                              .thread_m = thread_m,
                              .thread_n = thread_n,
                              .channel_lanes = channel_lanes,
                              .min_blocks = min_blocks,
                              .unroll = unroll});
}

// The shape that ought to be the fastest.
PassShape best_shape(const Problem& problem, const Target& target, const PassOf& pass) {
  PassShape best;
  double least = std::numeric_limits<double>::infinity();
  for_each_shape([&](const PassShape& shape) {
    if (!divides_into_lanes(shape) || 4 * shape.channel_lanes > problem.head_dim || shape.block_m() < 8 ||
        !fits_shared_memory(shape, problem, target) ||
        !fits_registers(shape, problem, pass.gradients, spare_registers(shape, problem)))
      return;
    const double time = estimate(shape, problem, target, pass);
    if (time >= least) return;
    least = time;
    best = shape;
  });
  return best;
}

}  // namespace

const std::vector<ConfigField<BackwardConfig>>& backward_fields() {
  using C = BackwardConfig;
  static const std::vector<ConfigField<BackwardConfig>> fields = {
      {&C::key_warps, "key_warps", {2, 4, 8}, "pass that owns keys: warps of a block"},
      {&C::key_lanes_m, "key_lanes_m", {2, 4, 8}, "lanes over keys of a tile; the others over queries"},
      {&C::key_thread_m, "key_thread_m", {1, 2, 4, 6, 8}, "keys per lane"},
      {&C::key_thread_n, "key_thread_n", {1, 2, 4, 8}, "queries per lane"},
      {&C::key_channel_lanes, "key_channel_lanes", {4, 8, 16, 32}, "lanes over channels of dk and dv"},
      {&C::key_stages, "key_stages", {1, 2}, "Q and dO tiles in flight"},
      {&C::key_min_blocks,
       "key_min_blocks",
       {1, 2, 3, 4},
       "blocks per multiprocessor to leave registers for"},
      {&C::key_unroll, "key_unroll", {1, 2, 4}, "unrolling of the inner loops, in steps of 4"},
      {&C::query_warps, "query_warps", {2, 4, 8}, "pass that owns queries: warps of a block"},
      {&C::query_lanes_m, "query_lanes_m", {2, 4, 8}, "lanes over queries of a tile; the others over keys"},
      {&C::query_thread_m, "query_thread_m", {1, 2, 4, 6, 8}, "queries per lane"},
      {&C::query_thread_n, "query_thread_n", {1, 2, 4, 8}, "keys per lane"},
      {&C::query_channel_lanes, "query_channel_lanes", {4, 8, 16, 32}, "lanes over channels of dq"},
      {&C::query_stages, "query_stages", {1, 2}, "K and V tiles in flight"},
      {&C::query_min_blocks, "query_min_blocks", {1, 2, 3, 4}, "blocks per multiprocessor, as above"},
      {&C::query_unroll, "query_unroll", {1, 2, 4}, "unrolling of the inner loops, in steps of 4"},
  };
  return fields;
}

std::vector<Constraint> backward_constraints() {
  std::vector<Constraint> all = constraints_of(kKeys), more = constraints_of(kQueries);
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

BackwardConfig backward_baseline(const Problem& problem, const Target& target) {
  const PassShape keys = best_shape(problem, target, kKeys), queries = best_shape(problem, target, kQueries);
  BackwardConfig config;
  config.key_warps = keys.warps, config.query_warps = queries.warps;
  config.key_thread_m = keys.thread_m, config.query_thread_m = queries.thread_m;
  config.key_thread_n = keys.thread_n, config.query_thread_n = queries.thread_n;
  config.key_channel_lanes = keys.channel_lanes, config.query_channel_lanes = queries.channel_lanes;
  config.key_min_blocks = keys.min_blocks, config.query_min_blocks = queries.min_blocks;
  config.key_unroll = keys.unroll, config.query_unroll = queries.unroll;
  return config;
}

}  // namespace fcsa::kernels::simt
