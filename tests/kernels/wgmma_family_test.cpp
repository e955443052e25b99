#include <gtest/gtest.h>

#include <vector>

#include "kernels/common/normalise.h"
#include "kernels/families.h"
#include "kernels/wgmma/config.h"
#include "tests/kernels/valid_baseline.h"

namespace fcsa::kernels {
namespace {

const Family& family() {
  return family_named("wgmma");
}

const Target& hopper() {
  static const Target target = target_for_arch("sm_90a");
  return target;
}

Problem full() {
  Problem p;
  p.dtype = DType::bf16, p.head_dim = 128;
  p.batch = 2, p.heads = 16, p.kv_heads = 4, p.nq = 1000, p.nk = 3000;
  return p;
}

// With every feature that the family has.
Problem everything() {
  Problem p = full();
  p.dtype = DType::f16, p.causal = p.key_mask = p.head_scale = true, p.groups = 2;
  p.layout = Layout::bnhd;
  return p;
}

std::vector<Problem> features(int head_dim) {
  std::vector<Problem> list(8, full());
  list[1].dtype = DType::f16;
  list[2].causal = true;
  list[3].key_mask = true;
  list[4].l2norm_qk = false;
  list[5].groups = head_dim / 8;
  list[6].head_scale = true, list[6].scale = 1000;  // beyond every fixed bound
  list[7] = everything();
  for (Problem& p : list) p.head_dim = head_dim;
  return list;
}

LaunchPlan plan_of(const Problem& problem, const Configuration& configuration) {
  return family().plan(traits_of(problem), configuration, shape_args(problem));
}

LaunchPlan baseline_plan(const Problem& problem) {
  return plan_of(problem, family().baseline(problem, hopper()));
}

// The baseline, and every valid configuration that differs from it in one parameter.
std::vector<Configuration> configurations_near_baseline(const Problem& problem) {
  const Configuration baseline = family().baseline(problem, hopper());
  const auto parameters = family().parameters(problem.op);
  std::vector<Configuration> list = {baseline};
  for (std::size_t i = 0; i < parameters.size(); ++i)
    for (const int value : parameters[i].values) {
      Configuration candidate = baseline;
      candidate.values[i].second = value;
      if (candidate == baseline || !invalid_reason(family(), problem, candidate, hopper()).empty()) continue;
      list.push_back(std::move(candidate));
    }
  return list;
}

std::string described(const Problem& problem, const Configuration& configuration) {
  return to_text(family(), problem.op, configuration) + " for " + to_text(problem);
}

template <typename T, std::size_t N>
std::vector<long long> first(const T (&values)[N], int count) {
  return {values, values + count};
}

using Numbers = std::vector<long long>;

// What cuTensorMapEncodeTiled asks for (CUDA driver API, tensor map object management).
void expect_encodable(const TensorMap& map) {
  ASSERT_TRUE(map.rank == 4 || map.rank == 5) << map.rank;
  EXPECT_EQ(map.first_byte % 16, 0);
  EXPECT_TRUE(map.swizzle_bytes == 32 || map.swizzle_bytes == 64 || map.swizzle_bytes == 128);
  EXPECT_EQ(map.box[0] * 2, map.swizzle_bytes);
  for (int i = 0; i < map.rank; ++i) {
    EXPECT_GE(map.size[i], 1) << i;
    EXPECT_LE(map.size[i], 1LL << 32) << i;
    EXPECT_GE(map.box[i], 1) << i;
    EXPECT_LE(map.box[i], 256) << i;
    if (i == 0) continue;
    EXPECT_EQ(map.stride_bytes[i - 1] % 16, 0) << i;
    EXPECT_GE(map.stride_bytes[i - 1], 16) << i;
    EXPECT_LT(map.stride_bytes[i - 1], 1LL << 40) << i;
  }
}

// One past the last byte that a map reads of its tensor.
long long end_byte(const TensorMap& map) {
  long long end = map.first_byte + 2 * map.size[0];
  for (int i = 1; i < map.rank; ++i) end += (map.size[i] - 1) * map.stride_bytes[i - 1];
  return end;
}

TEST(WgmmaFamily, ServesBf16AndF16OnSm90) {
  for (const DType dtype : {DType::bf16, DType::f16})
    for (Problem p : {full(), everything()}) {
      p.dtype = dtype;
      EXPECT_EQ(family().unsupported(p, hopper()), "") << to_text(p);
    }
}

TEST(WgmmaFamily, SaysWhichProblemsItDoesNotServe) {
  const auto refusal = [](const Problem& p) { return family().unsupported(p, hopper()); };
  Problem single = full();
  single.dtype = DType::f32;
  EXPECT_NE(refusal(single).find("f16 and bf16"), std::string::npos) << refusal(single);
}

// wgmma and setmaxnreg are neither in earlier nor in later architectures.
TEST(WgmmaFamily, RefusesOtherArchitecturesAndSaysWhichItNeeds) {
  for (const char* arch : {"sm_75", "sm_80", "sm_89", "sm_100a", "sm_110a", "sm_120a"}) {
    const std::string reason = family().unsupported(full(), target_for_arch(arch));
    EXPECT_NE(reason.find("9.0"), std::string::npos) << arch << ": " << reason;
  }
  EXPECT_NE(family().unsupported(full(), target_for_arch("avx2")), "");
}

TEST(WgmmaFamily, HasAValidBaselineFromItsSpaceForEveryProblemItServes) {
  for (int head_dim = 16; head_dim <= 256; head_dim += 16)
    for (Problem p : features(head_dim))
      for (const int kv_heads : {1, 4, 16})
        for (const int nq : {1, 5, 64, 65, 300, 100'000}) {
          p.kv_heads = kv_heads, p.nq = nq, p.nk = nq == 5 ? 3 : nq == 1 ? 8192 : nq + 77;
          expect_valid_baseline_from_the_space(family(), p, hopper());
        }
}

TEST(WgmmaFamily, HasAValidBaselineForFewHeadsToo) {
  for (const int head_dim : {32, 64, 128})
    for (Problem p : features(head_dim))
      for (const int heads : {1, 2, 3, 4, 5})
        for (const int nk : {100, 8192}) {
          p.batch = 1, p.heads = p.kv_heads = heads, p.nq = 192, p.nk = nk;
          expect_valid_baseline_from_the_space(family(), p, hopper());
        }
}

TEST(WgmmaFamily, PlansWhatTheDeviceCanLaunchAndEncode) {
  for (const int head_dim : {16, 48, 64, 96, 128, 176, 256})
    for (Problem p : features(head_dim))
      for (const int nq : {1, 300, 100'000}) {
        p.nq = nq, p.nk = nq + 77;
        for (const Configuration& configuration : configurations_near_baseline(p)) {
          SCOPED_TRACE(described(p, configuration));
          const LaunchPlan plan = plan_of(p, configuration);
          ASSERT_EQ(plan.map_count, configuration.at("tma_store") ? 4 : 3);
          for (int i = 0; i < plan.map_count; ++i) expect_encodable(plan.maps[i]);
          for (int i = 0; i < plan.count; ++i) {
            EXPECT_LE(plan.steps[i].smem_bytes, hopper().smem_per_block_bytes);
            EXPECT_LE(plan.steps[i].threads, static_cast<unsigned>(hopper().max_threads_per_block));
            EXPECT_GE(plan.steps[i].grid_x, 1u);
          }
          if (HasFailure()) return;
        }
      }
}

TEST(WgmmaFamily, LaunchesTheForwardKernelLast) {
  for (const Problem& p : features(64)) {
    const LaunchPlan plan = baseline_plan(p);
    ASSERT_GE(plan.count, 1) << to_text(p);
    for (int i = 0; i < plan.count; ++i)
      EXPECT_EQ(plan.steps[i].kernel == 0, i == plan.count - 1) << to_text(p);
  }
}

// Its keys are read once: a kernel before would read them twice.
TEST(WgmmaFamily, LaunchesOneKernelForFewQueriesUntuned) {
  Problem p = full();
  p.nk = 8192;
  for (const int nq : {1, 64}) {
    p.nq = nq;
    EXPECT_EQ(baseline_plan(p).count, 1) << nq;
  }
}

TEST(WgmmaFamily, CopiesKeysFromWhereTheyAreNormalised) {
  const Problem p = full();
  const BackwardArgs args = shape_args(p);
  const Traits traits = traits_of(p);
  const long long row = 2LL * p.head_dim, head = row * p.nk;
  wgmma::ForwardConfig config;
  EXPECT_EQ(config.plan(traits, args).maps[1].tensor, TensorMap::k) << "norms are factors of the scores";
  for (const int key_norms : {wgmma::kPrepass, wgmma::kTogether}) {
    config.key_norms = key_norms;
    const LaunchPlan plan = config.plan(traits, args);
    const TensorMap& keys = plan.maps[1];
    EXPECT_EQ(keys.tensor, TensorMap::workspace);
    EXPECT_EQ(Numbers(keys.stride_bytes, keys.stride_bytes + 3), (Numbers{row, head, head * p.kv_heads}));
    EXPECT_GE(plan.workspace_bytes, keys.first_byte + head * p.kv_heads * p.batch);
    EXPECT_EQ(plan.maps[0].tensor, TensorMap::q);
    EXPECT_EQ(plan.maps[2].tensor, TensorMap::v);
  }
}

TEST(WgmmaFamily, NormalisesEveryKeyBeforehand) {
  Problem p = full();
  p.nk = 8193;
  wgmma::ForwardConfig config;
  config.key_norms = wgmma::kPrepass;
  const LaunchPlan plan = config.plan(traits_of(p), shape_args(p));
  ASSERT_EQ(plan.count, 2);
  const Launch& keys = plan.steps[0];
  EXPECT_EQ(keys.kernel, 1);
  EXPECT_GE(1LL * keys.grid_x * keys.threads / 32 * config.kSliceRows, 1LL * p.batch * p.kv_heads * p.nk);
}

TEST(WgmmaFamily, ClearsTheCountsByWhichBlocksShareKeys) {
  Problem p = full();
  const BackwardArgs args = shape_args(p);
  wgmma::ForwardConfig config;
  config.key_norms = wgmma::kTogether;
  const Traits traits = traits_of(p);
  const LaunchPlan plan = config.plan(traits, args);
  ASSERT_EQ(plan.count, 2);
  EXPECT_EQ(plan.steps[0].kernel, 3);
  EXPECT_TRUE(plan.steps[1].cooperative) << "blocks wait for each other";
  EXPECT_GE(plan.steps[0].grid_x * plan.steps[0].threads, static_cast<unsigned>(p.batch * p.kv_heads));
  const auto workspace = config.workspace(traits, args);
  EXPECT_GE(workspace.counts - workspace.keys, 2LL * p.batch * p.kv_heads * p.nk * p.head_dim);
  EXPECT_EQ(plan.workspace_bytes, workspace.counts + 4LL * p.batch * p.kv_heads);
}

TEST(WgmmaFamily, LeavesMaskedKeysToWarpsThatDoNothingElse) {
  Problem p = full();
  p.key_mask = true;
  Configuration configuration = family().baseline(p, hopper());
  for (auto& [parameter, value] : configuration.values)
    if (parameter == "key_norms") value = wgmma::kTogether;
  EXPECT_NE(invalid_reason(family(), p, configuration, hopper()).find("mask"), std::string::npos);
}

// Blocks that wait for others that have not started would wait for ever.
TEST(WgmmaFamily, SharesNormsOnlyInAPersistentGrid) {
  const Problem p = full();
  Configuration configuration = family().baseline(p, hopper());
  const auto set = [&](const char* name, int value) {
    for (auto& [parameter, setting] : configuration.values)
      if (parameter == name) setting = value;
  };
  set("key_norms", wgmma::kTogether);
  EXPECT_EQ(invalid_reason(family(), p, configuration, hopper()), "");
  set("persistent", 0);
  EXPECT_NE(invalid_reason(family(), p, configuration, hopper()).find("not all blocks run at once"),
            std::string::npos);
}

TEST(WgmmaFamily, SumsRowsOnTheTensorCoresWhereVIsOnePanel) {
  for (const auto& [head_dim, served] :
       {std::pair{16, true}, {32, true}, {64, true}, {48, false}, {128, false}}) {
    Problem p = full();
    p.head_dim = head_dim;
    EXPECT_EQ(family().baseline(p, hopper()).at("tensor_sums"), served) << head_dim;
  }
}

TEST(WgmmaFamily, MapsQueriesKeysAndValuesInEitherLayout) {
  Problem p = full();
  p.l2norm_qk = false;   // keys are copied from where they are
  p.kv_heads = p.heads;  // nothing to pack
  const long long d = p.head_dim, h = p.heads, nq = p.nq, nk = p.nk;
  for (const Layout layout : {Layout::bhnd, Layout::bnhd}) {
    p.layout = layout;
    const LaunchPlan plan = baseline_plan(p);
    ASSERT_EQ(plan.map_count, 3);
    for (int i = 0; i < 3; ++i) {
      SCOPED_TRACE(std::string(to_text(layout)) + ", map " + std::to_string(i));
      const TensorMap& map = plan.maps[i];
      const long long n = i == 0 ? nq : nk;
      const Numbers strides = layout == Layout::bhnd ? Numbers{2 * d, 2 * n * d, 2 * h * n * d}
                                                     : Numbers{2 * h * d, 2 * d, 2 * h * n * d};
      EXPECT_EQ(map.tensor, i == 0 ? TensorMap::q : i == 1 ? TensorMap::k : TensorMap::v);
      EXPECT_EQ(map.first_byte, 0);
      ASSERT_EQ(map.rank, 4);
      EXPECT_EQ(first(map.size, 4), (Numbers{d, n, h, p.batch}));
      EXPECT_EQ(first(map.stride_bytes, 3), strides);
    }
  }
}

TEST(WgmmaFamily, CopiesAWarpgroupsQueriesAndABlocksPartOfTheKeysAtATime) {
  Problem p = full();
  p.kv_heads = p.heads;
  for (const auto& [head_dim, channels] : {std::pair{64, 64}, {128, 64}, {96, 32}, {80, 16}, {16, 16}}) {
    p.head_dim = head_dim;
    for (const Configuration& configuration : configurations_near_baseline(p)) {
      SCOPED_TRACE(described(p, configuration));
      const LaunchPlan plan = plan_of(p, configuration);
      const int keys = family().tile(configuration).keys / configuration.at("cluster");
      EXPECT_EQ(first(plan.maps[0].box, 4), (Numbers{channels, wgmma::ForwardConfig::kRows, 1, 1}));
      EXPECT_EQ(first(plan.maps[1].box, 4), (Numbers{channels, keys, 1, 1}));
      EXPECT_EQ(first(plan.maps[2].box, 4), (Numbers{channels, keys, 1, 1}));
    }
  }
}

TEST(WgmmaFamily, MapsQueryHeadsThatShareATileAsADimension) {
  wgmma::ForwardConfig config;
  config.pack_heads = 1;
  Problem p = full();
  p.heads = 16, p.kv_heads = 4;
  const long long d = p.head_dim, nq = p.nq;
  const Numbers expected[] = {{2 * nq * d, 2 * d, 8 * nq * d, 32 * nq * d},
                              {2 * d, 32 * d, 8 * d, 32 * nq * d}};
  for (const Layout layout : {Layout::bhnd, Layout::bnhd}) {
    p.layout = layout;
    const LaunchPlan plan = config.plan(traits_of(p), shape_args(p));
    const TensorMap& q = plan.maps[0];
    ASSERT_EQ(q.rank, 5);
    EXPECT_EQ(first(q.size, 5), (Numbers{d, 4, nq, 4, p.batch}));
    EXPECT_EQ(first(q.stride_bytes, 4), expected[layout == Layout::bnhd]) << to_text(layout);
    EXPECT_EQ(first(q.box, 5), (Numbers{64, 4, wgmma::ForwardConfig::kRows / 4, 1, 1}));
    EXPECT_EQ(plan.maps[1].rank, 4);
    EXPECT_EQ(plan.maps[2].rank, 4);
    EXPECT_EQ(first(plan.maps[1].size, 4), (Numbers{d, p.nk, 4, p.batch}));
  }
}

TEST(WgmmaFamily, MapsOLikeTheQueriesWhoseTilesItLeaves) {
  wgmma::ForwardConfig config;
  config.q_buffers = 2, config.tma_store = 1;
  for (const int pack_heads : {0, 1})
    for (const int groups : {1, 4}) {
      config.pack_heads = pack_heads;
      Problem p = full();
      p.groups = groups;
      BackwardArgs args = shape_args(p);
      args.o_strides = {1 << 20, 1 << 10, 1 << 16};
      const LaunchPlan plan = config.plan(traits_of(p), args);
      ASSERT_EQ(plan.map_count, 4);
      const TensorMap &q = plan.maps[0], &o = plan.maps[3];
      EXPECT_EQ(o.tensor, TensorMap::o);
      EXPECT_EQ(o.first_byte, 0) << "not in the workspace, where groups have their q";
      ASSERT_EQ(o.rank, q.rank);
      EXPECT_EQ(first(o.size, o.rank), first(q.size, q.rank));
      EXPECT_EQ(first(o.box, o.rank), first(q.box, q.rank));
      EXPECT_EQ(o.swizzle_bytes, q.swizzle_bytes);
      const Numbers strides =
          pack_heads ? Numbers{2 << 10, 2 << 16, 8 << 10, 2 << 20} : Numbers{2 << 16, 2 << 10, 2 << 20};
      EXPECT_EQ(first(o.stride_bytes, o.rank - 1), strides);
    }
}

TEST(WgmmaFamily, SplitsKeysWhereTilesOfQueriesAreFewAndKeysAreMany) {
  Problem p = full();
  p.batch = 1, p.heads = p.kv_heads = 8, p.nq = 512;
  const auto split = [&](int nk, bool causal) {
    p.nk = nk, p.causal = causal;
    return family().baseline(p, hopper()).at("split");
  };
  for (const bool causal : {false, true}) {
    EXPECT_GT(split(16384, causal), 1);
    EXPECT_EQ(split(1024, causal), 1) << "too short";
  }
  p.batch = 16;
  EXPECT_EQ(split(16384, false), 1) << "tiles of queries fill the device";
}

TEST(WgmmaFamily, LaunchesABlockForEveryPartOfTheKeys) {
  Problem p = full();
  wgmma::ForwardConfig whole, parts;
  whole.persistent = parts.persistent = 0;
  parts.split = 4;
  const LaunchPlan one = whole.plan(traits_of(p), shape_args(p)),
                   four = parts.plan(traits_of(p), shape_args(p));
  EXPECT_EQ(four.steps[four.count - 1].grid_x, 4 * one.steps[one.count - 1].grid_x);
  EXPECT_LE(parts.part_bytes(traits_of(p)), parts.tiles_bytes(traits_of(p)));
  const auto configuration = family().baseline(p, hopper());
  EXPECT_EQ(family().tile(configuration).blocks, configuration.at("split"));
}

// The sum over parts is the last thing that a block does.
TEST(WgmmaFamily, SplitsKeysOnlyOfBlocksWithOneTileOfQueries) {
  Problem p = full();
  p.batch = 1, p.heads = p.kv_heads = 8, p.nq = 512, p.nk = 16384;
  Configuration configuration = family().baseline(p, hopper());
  ASSERT_GT(configuration.at("split"), 1);
  const auto reason_with = [&](const char* name, int value) {
    Configuration other = configuration;
    for (auto& [parameter, setting] : other.values)
      if (parameter == name) setting = value;
    return invalid_reason(family(), p, other, hopper());
  };
  EXPECT_EQ(reason_with("split", configuration.at("split")), "");
  EXPECT_NE(reason_with("persistent", 1).find("several tiles of queries"), std::string::npos);
  EXPECT_NE(reason_with("cluster", 2).find("a cluster that shares copies"), std::string::npos);
}

TEST(WgmmaFamily, LeavesOInThePlaceOfQOnlyWhereTheNextQHasAnother) {
  const Problem p = full();
  Configuration configuration = family().baseline(p, hopper());
  const auto set = [&](const char* name, int value) {
    for (auto& [parameter, setting] : configuration.values)
      if (parameter == name) setting = value;
  };
  set("stages", 2);
  set("q_in_registers", 0);
  set("q_buffers", 2);
  set("tma_store", 1);
  EXPECT_EQ(invalid_reason(family(), p, configuration, hopper()), "");
  set("q_buffers", 1);
  EXPECT_NE(invalid_reason(family(), p, configuration, hopper()).find("place of Q"), std::string::npos);
}

// A tuned table takes a configuration at shapes that it wasn't tuned for.
TEST(WgmmaFamily, PacksNoHeadsWhereATileWouldNotHoldWholeQueries) {
  wgmma::ForwardConfig packing, plain;
  packing.pack_heads = 1;
  Problem p = full();
  for (const auto& [heads, kv_heads] : {std::pair{6, 2}, {128, 1}, {8, 8}}) {
    p.heads = heads, p.kv_heads = kv_heads;
    const Traits traits = traits_of(p);
    const BackwardArgs args = shape_args(p);
    const TensorMap q = packing.plan(traits, args).maps[0];
    EXPECT_EQ(first(q.box, 5), (Numbers{64, 1, wgmma::ForwardConfig::kRows, 1, 1})) << heads;
    EXPECT_EQ(first(q.size, 5), (Numbers{p.head_dim, 1, p.nq, heads, p.batch})) << heads;
    EXPECT_EQ(packing.work_count(traits, args), plain.work_count(traits, args)) << heads;
  }
}

TEST(WgmmaFamily, ReadsGroupedNormalisedTensorsFromTheWorkspace) {
  Problem p = full();
  p.kv_heads = p.heads, p.groups = 4, p.layout = Layout::bnhd;
  const LaunchPlan plan = baseline_plan(p);
  const NormalisedTensors tensors = normalised_tensors(traits_of(p), shape_args(p));
  const long long d = p.head_dim, h = p.heads;
  for (const int i : {0, 1}) {
    const long long n = i == 0 ? p.nq : p.nk;
    const TensorMap& map = plan.maps[i];
    EXPECT_EQ(map.tensor, TensorMap::workspace);
    EXPECT_EQ(map.first_byte, i == 0 ? tensors.q : tensors.k);
    EXPECT_EQ(first(map.size, 4), (Numbers{d, n, h, p.batch}));
    EXPECT_EQ(first(map.stride_bytes, 3), (Numbers{2 * d, 2 * n * d, 2 * h * n * d})) << "dense bhnd";
    EXPECT_LE(end_byte(map), plan.workspace_bytes);
  }
  EXPECT_LE(end_byte(plan.maps[0]), plan.maps[1].first_byte);
  EXPECT_EQ(plan.maps[2].tensor, TensorMap::v);
  EXPECT_EQ(first(plan.maps[2].stride_bytes, 3), (Numbers{2 * h * d, 2 * d, 2 * h * p.nk * d}));
}

}  // namespace
}  // namespace fcsa::kernels
