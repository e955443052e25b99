#include "cli/options.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "cli/problem_source.h"

namespace fcsa::cli {
namespace {

std::string usage_error(const std::function<void()>& call) {
  try {
    call();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Sizes, AreListsAndDoublingRanges) {
  EXPECT_EQ(parse_sizes("--seq", "512,1000"), (std::vector<int>{512, 1000}));
  EXPECT_EQ(parse_sizes("--seq", "512:4096"), (std::vector<int>{512, 1024, 2048, 4096}));
  EXPECT_EQ(parse_sizes("--seq", "7,100:250"), (std::vector<int>{7, 100, 200}));
  EXPECT_EQ(parse_sizes("--seq", "2000000000:2147483647"), (std::vector<int>{2000000000}));
}

TEST(Sizes, MalformedListsNameTheOptionAndTheWord) {
  EXPECT_EQ(usage_error([] { parse_sizes("--seq", "512,,64"); }),
            "--seq: '512,,64' is not a list: something is missing at a comma");
  EXPECT_EQ(usage_error([] { parse_sizes("--seq", "5x"); }), "--seq: '5x' is not a whole number");
  EXPECT_EQ(usage_error([] { parse_sizes("--seq", "0"); }), "--seq: 0 is below 1");
  EXPECT_EQ(usage_error([] { parse_sizes("--seq", "99999999999"); }),
            "--seq: '99999999999' is not a whole number");
  EXPECT_EQ(usage_error([] { parse_sizes("--seq", "64:32"); }), "--seq: the range 64:32 is empty");
  EXPECT_NE(usage_error([] { parse_sizes("--seq", ""); }), "no error");
  EXPECT_NE(usage_error([] { parse_sizes("--seq", "1:2:3"); }), "no error");
}

TEST(Duration, TakesSecondsMinutesAndHours) {
  EXPECT_EQ(parse_duration("--budget", "90").count(), 90);
  EXPECT_EQ(parse_duration("--budget", "90s").count(), 90);
  EXPECT_EQ(parse_duration("--budget", "1.5h").count(), 5400);
  for (const char* text : {"", "m", "-5s", "0", "5 m", "5d", "nan", "inf"})
    EXPECT_NE(usage_error([&] { parse_duration("--budget", text); }), "no error") << text;
}

TEST(Percentage, IsAboveZeroAndSaysWhatIsWrong) {
  EXPECT_DOUBLE_EQ(parse_percentage("--until", "5%"), 0.05);
  EXPECT_DOUBLE_EQ(parse_percentage("--until", "0.5%"), 0.005);
  for (const char* text : {"", "5", "%", "5 %", "5%%", "x%", "nan%"})
    EXPECT_NE(usage_error([&] { parse_percentage("--until", text); }), "no error") << text;
  EXPECT_EQ(usage_error([] { parse_percentage("--until", "5"); }),
            "--until: '5' is not a percentage such as 5%");
  EXPECT_EQ(usage_error([] { parse_percentage("--until", "0%"); }),
            "--until: 0% is not above 0% and at most 100%");
  EXPECT_NE(usage_error([] { parse_percentage("--until", "-3%"); }), "no error");
  EXPECT_NE(usage_error([] { parse_percentage("--until", "101%"); }), "no error");
}

TEST(ShardOption, CountsPartsFromZero) {
  const Shard shard = parse_shard("2/8");
  EXPECT_EQ(shard.index, 2);
  EXPECT_EQ(shard.count, 8);
  for (const char* text : {"8/8", "3", "a/b", "-1/2", "1/0"})
    EXPECT_NE(usage_error([&] { parse_shard(text); }), "no error") << text;
}

TEST(ShardOption, IsReadFromTheEnvironmentOfTorchrun) {
  setenv("RANK", "3", 1);
  setenv("WORLD_SIZE", "4", 1);
  setenv("LOCAL_RANK", "1", 1);
  const Shard shard = parse_shard("");
  unsetenv("RANK");
  unsetenv("WORLD_SIZE");
  unsetenv("LOCAL_RANK");
  EXPECT_EQ(shard.index, 3);
  EXPECT_EQ(shard.count, 4);
  EXPECT_EQ(shard.local_rank, 1);
}

TEST(Problems, DefaultToTheTokensAndHeadsOfTheDevice) {
  ProblemOptions options;
  options.seq = "1024", options.causal = "no", options.head_dim = "64,128";
  const auto gpu = options.problems(kernels::DeviceKind::cuda);
  ASSERT_EQ(gpu.size(), 2u);
  EXPECT_EQ(kernels::to_text(gpu[0]), "forward f32 d64 b16 h32 kv32 nq1024 nk1024 bhnd scale=8");
  EXPECT_EQ(kernels::to_text(gpu[1]), "forward f32 d128 b16 h16 kv16 nq1024 nk1024 bhnd scale=8");
  EXPECT_EQ(options.problems(kernels::DeviceKind::cpu)[0].batch, 4);
}

TEST(Problems, AreTheProductOfTheOptionsEachOnce) {
  ProblemOptions options;
  options.nq = "1,16", options.nk = "1024,1024", options.causal = "both", options.mask = "both";
  options.kv_heads = "4", options.heads = "8,16", options.batch = "1";
  EXPECT_EQ(options.problems(kernels::DeviceKind::cpu).size(), 2u * 1 * 2 * 2 * 2);
}

TEST(Problems, TakeEveryFeatureFromItsOption) {
  ProblemOptions options;
  options.seq = "64", options.causal = "no", options.batch = "4", options.heads = "2";
  options.dtype = "f32,bf16", options.bias = "none,f32", options.bias_batch = "2", options.bias_heads = "1";
  options.head_scale = "yes", options.groups = "4", options.logit_bound = 12.0f, options.tf32 = true;
  const auto list = options.problems(kernels::DeviceKind::cpu);
  ASSERT_EQ(list.size(), 4u);
  EXPECT_EQ(kernels::to_text(list[0]),
            "forward f32 d64 b4 h2 kv2 nq64 nk64 bhnd groups=4 head_scale tf32 bound=12 scale=8");
  EXPECT_EQ(kernels::to_text(list[3]),
            "forward bf16 d64 b4 h2 kv2 nq64 nk64 bhnd bias_batch=2 bias_heads=1 groups=4 bias=f32 "
            "head_scale bound=12 scale=8");
}

// As the command line has it: `fcsa tune WORDS`.
std::vector<kernels::Problem> problems_of(const std::string& words, kernels::DeviceKind kind) {
  CLI::App app;
  ProblemSource source;
  source.default_on_cuda = "spread_grid";
  source.add_to(app);
  app.parse(words);
  return source.problems(kind);
}

TEST(Problems, AreThoseOfAWorkloadThatShipsByItsName) {
  EXPECT_EQ(problems_of("--problems bert_base", kernels::DeviceKind::cuda).size(), 6u);
  const auto error = usage_error([] { problems_of("--problems nonsense", kernels::DeviceKind::cuda); });
  EXPECT_NE(error.find("no workload nonsense"), std::string::npos) << error;
  EXPECT_NE(error.find("bert_base, dit_xl"), std::string::npos) << error;
}

TEST(Problems, OnAGpuWhereNothingIsStatedAreNotSquaresOnly) {
  const auto kCuda = kernels::DeviceKind::cuda;
  const auto all = problems_of("", kCuda);
  EXPECT_GT(all.size(), 100u);
  EXPECT_TRUE(std::any_of(all.begin(), all.end(), [](const auto& p) { return p.nq != p.nk; }));
  for (const auto& stated : {problems_of("--op fwd", kCuda), problems_of("--head-dim 64", kCuda),
                             problems_of("", kernels::DeviceKind::cpu)})
    EXPECT_TRUE(std::all_of(stated.begin(), stated.end(), [](const auto& p) { return p.nq == p.nk; }));
}

TEST(Problems, OfTheBackwardPassWantTheGradientsThatAreAskedFor) {
  ProblemOptions options;
  options.seq = "64", options.causal = "no", options.batch = "4", options.heads = "2";
  options.op = "fwd,bwd", options.bias = "none,same";
  options.bias_gradient = "both", options.scale_gradient = "yes";
  const auto list = options.problems(kernels::DeviceKind::cpu);
  ASSERT_EQ(list.size(), 2u + 3u);
  EXPECT_EQ(kernels::to_text(list[1]), "forward f32 d64 b4 h2 kv2 nq64 nk64 bhnd bias scale=8");
  EXPECT_EQ(kernels::to_text(list[2]), "backward f32 d64 b4 h2 kv2 nq64 nk64 bhnd dscale scale=8");
  EXPECT_EQ(kernels::to_text(list[3]), "backward f32 d64 b4 h2 kv2 nq64 nk64 bhnd bias dscale scale=8");
  EXPECT_EQ(kernels::to_text(list[4]), "backward f32 d64 b4 h2 kv2 nq64 nk64 bhnd bias dbias dscale scale=8");
}

TEST(Problems, WithABiasOfFullSizeHaveOneText) {
  ProblemOptions options;
  options.seq = "64", options.causal = "no", options.batch = "4", options.heads = "2", options.bias = "same";
  const auto implied = options.problems(kernels::DeviceKind::cpu);
  options.bias_batch = "4", options.bias_heads = "2";
  EXPECT_EQ(options.problems(kernels::DeviceKind::cpu), implied);
}

TEST(Problems, ThatMakeNoSenseAreWrongUsage) {
  const auto with = [](auto change) {
    ProblemOptions options;
    options.seq = "64";
    change(options);
    return usage_error([&] { options.problems(kernels::DeviceKind::cpu); });
  };
  EXPECT_EQ(with([](auto& o) { o.dtype = "int8"; }), "--dtype: 'int8' is not a dtype: use f32, bf16 or f16");
  EXPECT_EQ(with([](auto& o) { o.head_dim = "72"; }),
            "head_dim is 72: it must be a multiple of 16 from 16 to 256");
  EXPECT_EQ(with([](auto& o) { o.causal = "maybe"; }), "--causal: 'maybe' is not yes, no or both");
  EXPECT_EQ(with([](auto& o) { o.nq = "5"; }), "--nq and --nk are given together, or use --seq");
  EXPECT_EQ(with([](auto& o) { o.heads = "6", o.kv_heads = "4"; }),
            "heads is 6 and kv_heads 4: heads must be a multiple of kv_heads");
  EXPECT_EQ(with([](auto& o) { o.bias = "f16"; }), "--bias: 'f16' is not a bias: use none, f32 or same");
  EXPECT_EQ(with([](auto& o) { o.bias_heads = "1"; }),
            "--bias-batch and --bias-heads are sizes of a bias: add --bias same or --bias f32");
  EXPECT_EQ(with([](auto& o) { o.bias = "same", o.batch = "4", o.bias_batch = "3"; }),
            "bias_batch is 3: it must divide batch, which is 4");
  EXPECT_EQ(with([](auto& o) { o.tf32 = true, o.dtype = "f16"; }),
            "--tf32 is about products of f32 tensors: add f32 to --dtype");
  EXPECT_EQ(with([](auto& o) { o.op = "bwd", o.bias_gradient = "yes"; }),
            "--bias-gradient is about gradients of a bias: add bwd to --op, and --bias same or --bias f32");
  EXPECT_EQ(with([](auto& o) { o.scale_gradient = "both"; }),
            "--scale-gradient is about a gradient: add bwd to --op");
  EXPECT_EQ(with([](auto& o) { o.logit_bound = -1.0f; }),
            "logit_bound is -1: it must be finite and not negative");
}

}  // namespace
}  // namespace fcsa::cli
