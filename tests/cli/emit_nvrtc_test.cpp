// What `fcsa emit` asks NVRTC; no GPU.
#include <gtest/gtest.h>

#include "tests/cli/program.h"
#include "tests/cli/tuned_database.h"

namespace fcsa::cli {
namespace {

TEST(EmitWithNvrtc, PutsBinariesIntoTheHeaderAndSaysThatTheSourcesAreOthers) {
  const TemporaryFolder folder;
  add_tuning(folder / "t.db", gpu("GPU", "gpu-1", "sm_75"), 512, "2026-01-02T03:00:00Z");
  const ProgramResult result =
      run_fcsa({"emit", "--db", folder / "t.db", "--out", folder / "o", "--cubin", "--tuned-only"},
               {"XDG_CACHE_HOME=" + std::string(folder / "cache")});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.err.find("changed since 1 of 1 kernels were measured"), std::string::npos) << result.err;
  const std::string header = read_file(folder / "o" / "fcsa_tuned_sm_75.h");
  for (const char* part : {"binaries that NVRTC", "kCubin0[] = {", "changed since 1 of 1 kernels",
                           "\"_ZN4fcsa7kernels4simt7forward"})
    EXPECT_NE(header.find(part), std::string::npos) << part;
  EXPECT_EQ(header.find("kCubin1"), std::string::npos);
}

}  // namespace
}  // namespace fcsa::cli
