#include "reports/sections.h"

#include <gtest/gtest.h>

#include "tests/reports/fabricated.h"

namespace fcsa::reports {
namespace {

using fabricated::Database;
using fabricated::gpu;
using fabricated::problem;

std::vector<int> lengths(const Section& section, std::size_t device = 0) {
  std::vector<int> result;
  for (const Point* point : section.by_device.at(device)) result.push_back(point->problem.nk);
  return result;
}

kernels::Problem with_batch(int length, int batch) {
  kernels::Problem p = problem(length);
  p.batch = batch;
  return p;
}

TEST(Sections, DrawFixedTokensAsOneCurve) {
  Database database(gpu());
  for (const int length : {32768, 1024, 4096, 16384}) database.tuned(problem(length));
  const auto devices = collect(database.trials());
  const auto sections = make_sections(devices);
  ASSERT_EQ(sections.size(), 1U);
  EXPECT_EQ(lengths(sections[0]), (std::vector<int>{1024, 4096, 16384, 32768}));
  EXPECT_EQ(sections[0].shape[1], "16,384 tokens (batch x N, at least one sequence)");
}

TEST(Sections, KeepFixedBatchAndFixedTokensApart) {
  Database database(gpu());
  for (const int length : {1024, 2048, 4096}) database.tuned(problem(length)).tuned(with_batch(length, 2));
  const auto devices = collect(database.trials());
  const auto sections = make_sections(devices);
  ASSERT_EQ(sections.size(), 2U);
  EXPECT_EQ(lengths(sections[0]), (std::vector<int>{1024, 2048, 4096}));
  EXPECT_EQ(lengths(sections[1]), (std::vector<int>{1024, 2048, 4096}));
}

TEST(Sections, SeparateWhatDiffersInMoreThanLength) {
  Database database(gpu());
  kernels::Problem causal = problem(1024), wide = problem(1024), grouped = problem(1024);
  causal.causal = true;
  wide.head_dim = 128;
  grouped.kv_heads = 8;
  database.tuned(problem(1024)).tuned(causal).tuned(wide).tuned(grouped);
  const auto devices = collect(database.trials());
  EXPECT_EQ(make_sections(devices).size(), 4U);
}

TEST(Sections, SayHowManyQueriesThereAreWhenTheyAreNotTheKeys) {
  Database database(gpu());
  for (const int length : {1024, 2048}) {
    kernels::Problem decode = with_batch(length, 8);
    decode.nq = 1;
    database.tuned(decode);
  }
  const auto devices = collect(database.trials());
  const auto sections = make_sections(devices);
  ASSERT_EQ(sections.size(), 1U);
  EXPECT_NE(sections[0].title.find("1 query"), std::string::npos) << sections[0].title;
}

TEST(Sections, AlignDevices) {
  const Database one = Database(gpu()).tuned(problem(1024)).tuned(problem(2048));
  const Database other = Database(fabricated::cpu(), "session-2").tuned(problem(1024));
  const auto trials = fabricated::joined(one, other);
  const auto devices = collect(trials);
  const auto sections = make_sections(devices);
  ASSERT_EQ(sections.size(), 1U);
  EXPECT_EQ(lengths(sections[0], 0), (std::vector<int>{1024, 2048}));
  EXPECT_EQ(lengths(sections[0], 1), (std::vector<int>{1024}));
}

TEST(Sections, KeepOperationsAndTheGradientsThatAreWantedApart) {
  Database database(gpu());
  kernels::Problem backward = problem(512);
  backward.op = kernels::Op::backward;
  kernels::Problem scale = backward;
  scale.scale_gradient = true;
  kernels::Problem both = scale;
  both.bias = kernels::Bias::same;
  both.bias_gradient = true;
  for (const auto& p : {problem(512), backward, scale, both})
    database.search(p, "text.kernel{}", fabricated::took(1));
  const auto devices = collect(database.trials());
  const auto sections = make_sections(devices);
  ASSERT_EQ(sections.size(), 4U);
  EXPECT_EQ(sections[0].title, "Forward, f32, head dim 64, full");
  EXPECT_EQ(sections[1].title,
            "Backward, f32, head dim 64, full, bias, gradient of the bias, gradient of the scale");
  EXPECT_EQ(sections[2].title, "Backward, f32, head dim 64, full, gradient of the scale");
  EXPECT_EQ(sections[3].title, "Backward, f32, head dim 64, full");
  EXPECT_EQ(speedup_note(sections[0]), "");
  EXPECT_NE(speedup_note(sections[3]).find("baseline of the kernel's family"), std::string::npos);
}

TEST(Sections, OfOneTitleAreToldApartByWhatDiffers) {
  Database database(gpu());
  for (const int batch : {1, 2})
    for (const int length : {512, 768}) database.tuned(with_batch(length, batch));
  const auto devices = collect(database.trials());
  const auto sections = make_sections(devices);
  ASSERT_EQ(sections.size(), 2U);
  EXPECT_EQ(sections[0].title, "Forward, f32, head dim 64, full, batch 1");
  EXPECT_EQ(sections[1].title, "Forward, f32, head dim 64, full, batch 2");
}

}  // namespace
}  // namespace fcsa::reports
