// Tuned data and the kernels of this build: in fabricated records, and in every file of data/.
#include "runner/compile/source_check.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "runner/compile/binary_cache.h"
#include "runner/device/compiler.h"
#include "tuner/trials/tuned_data.h"

namespace fcsa::runner {
namespace {

namespace fs = std::filesystem;
using tuner::StoredTrial;

// Measured on an H100 with the kernels of this build.
StoredTrial fresh_trial(const std::string& family_name, const std::string& configuration = "") {
  StoredTrial stored;
  stored.session.command = "fcsa tune --family " + family_name + " --db FILE";
  auto& device = stored.session.device;
  device.name = "NVIDIA H100";
  device.compiler = "NVRTC 12.9";
  device.target = kernels::target_for_arch("sm_90a");
  auto& problem = stored.trial.problem;
  problem.dtype = kernels::DType::bf16;
  problem.nq = problem.nk = 1024;
  const auto& family = kernels::family_named(family_name);
  const auto baseline = family.baseline(problem, device.target);
  stored.trial.configuration =
      configuration.empty() ? kernels::to_text(family, problem.op, baseline) : configuration;
  stored.trial.source_hash = source_hash(family.source(problem, baseline), device.target,
                                         {device.compiler, compile_options(device.target)});
  return stored;
}

TEST(SourceCheck, AcceptsWhatThisBuildsKernelsGave) {
  EXPECT_TRUE(stale_trials({fresh_trial("wgmma"), fresh_trial("mma"), fresh_trial("simt")}).empty());
}

TEST(SourceCheck, FindsOtherSourcesAndConfigurationsThatAreGone) {
  auto changed = fresh_trial("mma");
  changed.trial.source_hash[0] = changed.trial.source_hash[0] == '0' ? '1' : '0';
  const std::vector<StoredTrial> trials = {fresh_trial("wgmma"), changed,
                                           fresh_trial("mma", "mma.forward{gone=1}"),
                                           fresh_trial("mma", "gone.forward{}")};
  EXPECT_EQ(stale_trials(trials), (std::vector<const StoredTrial*>{&trials[1], &trials[2], &trials[3]}));
}

TEST(SourceCheck, TellsDevicesAndCompilersApart) {
  auto other = fresh_trial("mma");
  other.session.device.compiler = "NVRTC 13.0";
  const std::vector<StoredTrial> trials = {fresh_trial("mma"), other};
  EXPECT_EQ(stale_trials(trials), std::vector<const StoredTrial*>{&trials[1]});
}

TEST(SourceCheck, SaysHowToMeasureAgainAndMakeTheFile) {
  auto changed = fresh_trial("mma");
  changed.trial.source_hash = "of last year";
  const std::vector<StoredTrial> trials = {fresh_trial("wgmma"), changed, changed};
  const std::string text = how_to_renew("data/sm_90/h100.json", trials, stale_trials(trials));
  EXPECT_EQ(
      text,
      "data/sm_90/h100.json: 2 of 3 trials were measured with other kernel sources than this build's (2 of "
      "mma.forward). Measure them again on a NVIDIA H100, and make the file again:\n"
      "  fcsa tune --family mma --db FILE\n"
      "  fcsa db --db FILE ship --device 'NVIDIA H100' --out data/sm_90/h100.json\n"
      "If only the text of these kernels changed, not their machine code, no GPU is needed: `fcsa db codes` "
      "of "
      "a build of the former sources, then `fcsa db restamp` of this one:\n"
      "  fcsa db codes data/sm_90/h100.json --out codes.jsonl\n"
      "  fcsa db restamp --codes codes.jsonl data/sm_90/h100.json\n");
}

// What one family's data is worth must not depend on another family's sources.
TEST(SourceCheck, TheSourceOfAFamilyHasNothingOfAnotherFamilys) {
  const auto source_of = [](const std::string& family_name) {
    kernels::Problem problem;
    problem.dtype = kernels::DType::bf16;
    const auto& family = kernels::family_named(family_name);
    return family.source(problem, family.baseline(problem, kernels::target_for_arch("sm_90a"))).text;
  };
  for (const std::string family : {"wgmma", "mma", "simt"})
    for (const std::string other : {"wgmma", "mma", "simt"}) {
      const bool found =
          source_of(family).find("namespace fcsa::kernels::" + other + " {") != std::string::npos;
      EXPECT_EQ(found, family == other) << other << " in " << family;
    }
}

std::vector<StoredTrial> trials_in(const fs::path& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return tuner::trials_of_tuned_data(text.str());
}

TEST(ShippedData, WasMeasuredWithTheKernelSourcesOfThisBuild) {
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(FCSA_TEST_SOURCES) / "data")) {
    if (entry.path().extension() != ".json") continue;
    const auto trials = trials_in(entry.path());
    EXPECT_FALSE(trials.empty()) << entry.path();
    const auto stale = stale_trials(trials);
    const std::string name = fs::relative(entry.path(), FCSA_TEST_SOURCES).string();
    EXPECT_TRUE(stale.empty()) << how_to_renew(name, trials, stale) << "data/README.md has more about it.";
  }
}

}  // namespace
}  // namespace fcsa::runner
