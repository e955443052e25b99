// fcsa verify --pairs: every pair of features, through the real compiler.
#include <gtest/gtest.h>

#include "tests/cli/program.h"

namespace fcsa::cli {
namespace {

TEST(Pairs, OfAllFeaturesAreVerifiedForEveryFamilyOfTheCpu) {
  const TemporaryFolder cache;
  const ProgramResult result =
      run_fcsa({"verify", "--device", "cpu", "--pairs"}, {"XDG_CACHE_HOME=" + std::string(cache / "cache")});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  for (const char* family : {"\ncpu: ", "\nunfused_cpu: "}) {
    const auto line = result.out.find(family);
    ASSERT_NE(line, std::string::npos) << result.out;
    EXPECT_NE(result.out.find(" verified, 0 failed", line), std::string::npos) << result.out;
  }
}

}  // namespace
}  // namespace fcsa::cli
