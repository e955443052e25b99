#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "runner/compile/compile_pool.h"
#include "runner/compile/kernel_code.h"
#include "runner/compile/machine_code.h"
#include "runner/process/temporary_directory.h"

namespace fcsa::runner {
namespace {

kernels::Problem small_problem() {
  kernels::Problem problem;
  problem.head_dim = 32;
  problem.nq = problem.nk = 1024;
  return problem;
}

kernels::KernelSource source_of(const std::string& configuration) {
  const auto& family = kernels::family_named("simt");
  return family.source(small_problem(),
                       kernels::configuration_from_text(configuration, "simt.forward",
                                                        family.parameters(kernels::Op::forward)));
}

void replace_all(std::string& text, const std::string& what, const std::string& with) {
  std::size_t count = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size()), ++count)
    text.replace(at, what.size(), with);
  ASSERT_GT(count, 0U) << what;
}

class KernelCodeNvrtc : public testing::Test {
 protected:
  std::string code_of(const kernels::KernelSource& source) {
    const auto result = pool_.wait({source, target_, source_hash(source, target_, pool_.describe(target_))});
    EXPECT_EQ(result.status, tuner::Status::ok) << result.message;
    std::ifstream file(result.cached.binary.path, std::ios::binary);
    return machine_code_hash(std::string{std::istreambuf_iterator<char>(file), {}});
  }

  const TemporaryDirectory directory_;
  const kernels::Target target_ = kernels::target_for_arch("sm_90a");
  CompilePool pool_{
      {.executable = FCSA_WORKER_PROGRAM, .kind = "nvrtc", .jobs = 1, .cache_directory = directory_.path()}};
};

TEST_F(KernelCodeNvrtc, SurvivesOtherNamesAndNewParameters) {
  const auto source = source_of("simt.forward{}");
  auto rewritten = source;
  rewritten.text =
      "// A comment, and a constant that nothing reads.\nconstexpr int kUnread = 7;\n" + source.text;
  replace_all(rewritten.text, "warp_row", "row_of_warp");
  replace_all(rewritten.text, "int longest_first = 1;", "int longest_first = 1; int unread = 0;");
  replace_all(rewritten.text, "ForwardConfig", "ConfigurationOfForward");
  for (auto& entry : rewritten.entries) replace_all(entry, "ForwardConfig", "ConfigurationOfForward");
  EXPECT_EQ(code_of(source), code_of(rewritten));
}

TEST_F(KernelCodeNvrtc, IsAnotherForAnotherBlockSize) {
  EXPECT_NE(code_of(source_of("simt.forward{}")), code_of(source_of("simt.forward{warps=2}")));
}

TEST_F(KernelCodeNvrtc, ListsEveryKernelOnceWithTheLaunchesOfItsProblems) {
  tuner::StoredTrial stored;
  stored.session.device.target = target_;
  stored.session.device.compiler = pool_.describe(target_).version;
  stored.trial.problem = small_problem();
  stored.trial.configuration = "simt.forward{}";
  stored.trial.source_hash = source_hash(source_of("simt.forward{}"), target_, pool_.describe(target_));
  auto longer = stored, failed = stored, elsewhere = stored, gone = stored;
  longer.trial.problem.nq = 4096;
  failed.trial.configuration = "simt.forward{warps=2}";
  failed.trial.evaluation.status = tuner::Status::wrong_result;
  elsewhere.session.device.target.kind = kernels::DeviceKind::cpu;
  elsewhere.trial.configuration = "cpu.forward{}";
  gone.trial.configuration = "simt.forward{gone=1}";
  const std::vector trials = {stored, longer, failed, elsewhere, gone, stored};
  const auto codes = kernel_codes(
      trials, {.executable = FCSA_WORKER_PROGRAM, .compile_jobs = 1, .cache_directory = directory_.path()});
  ASSERT_EQ(codes.size(), 2U);
  EXPECT_TRUE(codes[0].measured());
  EXPECT_EQ(codes[0].error, "");
  EXPECT_EQ(codes[0].compiler, codes[0].measured_with);
  EXPECT_EQ(codes[0].code, code_of(source_of("simt.forward{}")));
  ASSERT_EQ(codes[0].launches.size(), 2U);
  EXPECT_NE(codes[0].launches.at(kernels::to_text(stored.trial.problem)),
            codes[0].launches.at(kernels::to_text(longer.trial.problem)));
  EXPECT_EQ(codes[1].configuration, "simt.forward{gone=1}");
  EXPECT_FALSE(codes[1].measured());
  EXPECT_NE(codes[1].error.find("gone"), std::string::npos) << codes[1].error;
}

}  // namespace
}  // namespace fcsa::runner
