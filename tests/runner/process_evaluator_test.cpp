#include "runner/process_evaluator.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <thread>

#include "runner/compile/compile_all.h"
#include "runner/inventory_process.h"
#include "tests/runner/evaluator_fixture.h"

namespace fcsa::runner {
namespace {

using tuner::Status;
namespace fs = std::filesystem;

class ProcessEvaluatorTest : public EvaluatorTest {
 protected:
  TextFamily right_{kernel_text()};
};

TEST_F(ProcessEvaluatorTest, VerifiesAndMeasuresARightKernel) {
  ProcessEvaluator evaluator(options());
  const auto evaluation = evaluator.evaluate(candidate_of(right_));
  ASSERT_EQ(evaluation.status, Status::ok) << evaluation.message;
  EXPECT_GE(evaluation.measurement.samples_ms.size(), 2U);
  EXPECT_GT(evaluation.measurement.median_ms, 0);
  EXPECT_GT(evaluation.accuracy.tolerance, 0);
  EXPECT_LE(evaluation.accuracy.error, evaluation.accuracy.tolerance);
  EXPECT_GE(static_cast<double>(evaluation.measurement.peak_memory_bytes), kernels::bytes(test_problem()));
  EXPECT_GT(evaluation.compile_ms, 0);
}

TEST_F(ProcessEvaluatorTest, DescribesTheDeviceAndItsCompiler) {
  const ProcessEvaluator evaluator(options());
  EXPECT_EQ(evaluator.device().selector(), "cpu");
  EXPECT_FALSE(evaluator.device().uuid.empty());
  EXPECT_FALSE(evaluator.device().compiler.empty());
}

TEST_F(ProcessEvaluatorTest, ChecksWithoutMeasuringWhenAskedToVerify) {
  ProcessEvaluator evaluator(options());
  const auto evaluation = evaluator.verify(candidate_of(right_));
  EXPECT_EQ(evaluation.status, Status::ok) << evaluation.message;
  EXPECT_TRUE(evaluation.measurement.samples_ms.empty());
}

TEST_F(ProcessEvaluatorTest, TimesAsManyLaunchesAsAskedForWithoutVerifyingAgain) {
  ProcessEvaluator evaluator(options());
  ASSERT_EQ(evaluator.verify(candidate_of(right_)).status, Status::ok);
  const auto evaluation = evaluator.measure(candidate_of(right_), 40, std::chrono::seconds(10));
  ASSERT_EQ(evaluation.status, Status::ok) << evaluation.message;
  const auto& measurement = evaluation.measurement;
  EXPECT_GE(measurement.samples_ms.size() * static_cast<std::size_t>(measurement.launches_per_sample), 40U);
  EXPECT_GT(measurement.peak_memory_bytes, 0U);
  EXPECT_EQ(evaluation.accuracy.tolerance, 0) << "nothing was compared";
}

// With a workspace of which the kernel uses nothing.
class HungryFamily final : public TextFamily {
 public:
  HungryFamily(std::string text, long long bytes) : TextFamily(std::move(text)), bytes_(bytes) {}
  kernels::LaunchPlan plan(const kernels::Traits& traits, const kernels::Configuration& configuration,
                           const kernels::BackwardArgs& args) const override {
    auto plan = TextFamily::plan(traits, configuration, args);
    plan.workspace_bytes = bytes_;
    return plan;
  }

 private:
  long long bytes_;
};

TEST_F(ProcessEvaluatorTest, CountsTheWorkspaceAsExtraMemory) {
  ProcessEvaluator evaluator(options());
  const HungryFamily hungry(kernel_text(), 1 << 20);
  const auto measurement = evaluator.evaluate(candidate_of(hungry)).measurement;
  EXPECT_GE(measurement.extra_memory_bytes, std::size_t{1} << 20);
  EXPECT_GE(static_cast<double>(measurement.peak_memory_bytes), kernels::bytes(test_problem()) + (1 << 20));
}

TEST_F(ProcessEvaluatorTest, CountsMemoryThatTheKernelTakesForItself) {
  ProcessEvaluator evaluator(options());
  const TextFamily allocating(
      kernel_text("if (task == 0) { void* block = malloc(64 << 20); memset(block, 1, 64 << 20); "
                  "__asm__ volatile(\"\" : : \"r\"(block) : \"memory\"); free(block); }"));
  const auto evaluation = evaluator.evaluate(candidate_of(allocating));
  EXPECT_GE(evaluation.measurement.extra_memory_bytes, std::size_t{60} << 20) << evaluation.message;
}

TEST_F(ProcessEvaluatorTest, TakesMoreMemoryThanThereIsAsAResult) {
  ProcessEvaluator evaluator(options());
  const HungryFamily starving(kernel_text(), 1LL << 50);
  EXPECT_EQ(evaluator.evaluate(candidate_of(starving)).status, Status::out_of_memory);
  EXPECT_EQ(evaluator.evaluate(candidate_of(right_)).status, Status::ok);
}

TEST_F(ProcessEvaluatorTest, MeasuresWithAColdCacheWhenAskedTo) {
  auto cold = options();
  cold.measurement.cache = tuner::CacheState::cold;
  ProcessEvaluator evaluator(cold);
  const auto evaluation = evaluator.evaluate(candidate_of(right_));
  EXPECT_EQ(evaluation.status, Status::ok) << evaluation.message;
  EXPECT_EQ(evaluation.measurement.cache, tuner::CacheState::cold);
}

TEST_F(ProcessEvaluatorTest, TellsTheCompileTimeOnlyOfTheEvaluationThatCompiled) {
  ProcessEvaluator evaluator(options());
  evaluator.evaluate(candidate_of(right_));
  const auto again = evaluator.evaluate(candidate_of(right_));
  EXPECT_EQ(again.status, Status::ok) << again.message;
  EXPECT_EQ(again.compile_ms, 0);
}

TEST_F(ProcessEvaluatorTest, FindsTheBinariesOfAnEarlierOne) {
  ProcessEvaluator(options()).evaluate(candidate_of(right_));
  const auto again = ProcessEvaluator(options()).evaluate(candidate_of(right_));
  EXPECT_EQ(again.status, Status::ok) << again.message;
  EXPECT_EQ(again.compile_ms, 0);
}

TEST_F(ProcessEvaluatorTest, RebuildsABinaryThatWasDamaged) {
  ProcessEvaluator(options()).verify(candidate_of(right_));
  for (const auto& entry : fs::directory_iterator(options().cache_directory))
    if (entry.path().extension() == ".so") fs::resize_file(entry.path(), fs::file_size(entry.path()) / 2);
  const auto again = ProcessEvaluator(options()).verify(candidate_of(right_));
  EXPECT_EQ(again.status, Status::ok) << again.message;
  EXPECT_GT(again.compile_ms, 0);
}

TEST_F(ProcessEvaluatorTest, RebuildsWhenTheCacheWasEmptiedMeanwhile) {
  ProcessEvaluator evaluator(options());
  evaluator.verify(candidate_of(right_));
  for (const auto& entry : fs::directory_iterator(options().cache_directory)) fs::remove(entry.path());
  const auto again = evaluator.verify(candidate_of(right_));
  EXPECT_EQ(again.status, Status::ok) << again.message;
  EXPECT_GT(again.compile_ms, 0);
}

TEST_F(ProcessEvaluatorTest, NamesTheViolatedConstraint) {
  ProcessEvaluator evaluator(options());
  const auto evaluation = evaluator.evaluate(candidate_of(right_, 3));
  EXPECT_EQ(evaluation.status, Status::pruned);
  EXPECT_EQ(evaluation.message, "number too large");
}

TEST_F(ProcessEvaluatorTest, PrunesAProblemThatTheFamilyDoesNotServe) {
  ProcessEvaluator evaluator(options());
  auto candidate = candidate_of(right_);
  candidate.problem.head_dim = 32;
  const auto evaluation = evaluator.evaluate(candidate);
  EXPECT_EQ(evaluation.status, Status::pruned);
  EXPECT_EQ(evaluation.message, "only head dimension 16");
}

TEST_F(ProcessEvaluatorTest, TellsSourcesApartWithoutCompilingThem) {
  ProcessEvaluator evaluator(options());
  const TextFamily commented("// a comment\n" + kernel_text());
  EXPECT_EQ(evaluator.source_hash(candidate_of(right_)), evaluator.source_hash(candidate_of(commented)));
  EXPECT_NE(evaluator.source_hash(candidate_of(right_, 0)), evaluator.source_hash(candidate_of(right_, 1)));
  EXPECT_TRUE(fs::is_empty(options().cache_directory));
}

TEST_F(ProcessEvaluatorTest, CompilesAheadWhatIsPrefetched) {
  ProcessEvaluator evaluator(options());
  const std::vector<tuner::Candidate> ahead{candidate_of(right_, 3), candidate_of(right_, 1)};
  evaluator.prefetch(ahead);
  EXPECT_TRUE(becomes_true(
      [&] { return fs::exists(options().cache_directory / (evaluator.source_hash(ahead[1]) + ".json")); }));
  EXPECT_EQ(evaluator.verify(ahead[1]).status, Status::ok);
}

TEST_F(ProcessEvaluatorTest, RacesInTheOrderGivenAndLeavesOutTheWrongOne) {
  ProcessEvaluator evaluator(options());
  const TextFamily wrong(kernel_text("", "a.nk - 1"));
  const std::vector<tuner::Candidate> contenders{candidate_of(right_, 0), candidate_of(wrong),
                                                 candidate_of(right_, 3), candidate_of(right_, 1)};
  const auto results = evaluator.race(contenders);
  ASSERT_EQ(results.size(), 4U);
  EXPECT_EQ(results[0].status, Status::ok) << results[0].message;
  EXPECT_EQ(results[1].status, Status::wrong_result);
  EXPECT_EQ(results[2].status, Status::pruned);
  EXPECT_EQ(results[3].status, Status::ok) << results[3].message;
  EXPECT_TRUE(results[1].measurement.samples_ms.empty());
  EXPECT_GE(results[0].measurement.samples_ms.size(), 2U);
  EXPECT_GE(results[3].measurement.samples_ms.size(), 2U);
}

TEST_F(ProcessEvaluatorTest, RefusesToRaceDifferentProblems) {
  ProcessEvaluator evaluator(options());
  std::vector<tuner::Candidate> contenders{candidate_of(right_), candidate_of(right_)};
  contenders[1].problem.nq = 36;
  EXPECT_THROW(evaluator.race(contenders), std::invalid_argument);
}

TEST_F(ProcessEvaluatorTest, SharesItsCacheWithAnotherAtTheSameTime) {
  const auto work = [this] {
    ProcessEvaluator evaluator(options());
    for (const int number : {0, 1, 2})
      EXPECT_EQ(evaluator.verify(candidate_of(right_, number)).status, Status::ok);
  };
  std::thread other(work);
  work();
  other.join();
}

TEST_F(ProcessEvaluatorTest, SaysThatTheCacheCannotBeWritten) {
  std::ofstream(options().cache_directory) << "a file in the way";
  try {
    const ProcessEvaluator evaluator(options());
    FAIL() << "accepted";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find(options().cache_directory.string()), std::string::npos)
        << error.what();
  }
}

TEST_F(ProcessEvaluatorTest, SaysThatTheDeviceIsNotThere) {
  auto missing = options();
  missing.device = "cuda:99";
  EXPECT_THROW(ProcessEvaluator{missing}, std::runtime_error);
}

TEST_F(ProcessEvaluatorTest, SaysThatTheProgramIsNotThere) {
  auto missing = options();
  missing.executable = "/nowhere/fcsa";
  EXPECT_THROW(ProcessEvaluator{missing}, std::runtime_error);
}

TEST_F(ProcessEvaluatorTest, RunsBuiltInKernelsWhereThereIsNoCompiler) {
  const EnvironmentVariable variable("FCSA_CXX", "/nowhere/c++");
  ProcessEvaluator evaluator(options());
  const auto& family = kernels::family_named("cpu");
  tuner::Candidate candidate{test_problem(), &family,
                             family.baseline(test_problem(), evaluator.device().target)};
  evaluator.prefetch({&candidate, 1});
  const auto evaluation = evaluator.evaluate(candidate);
  EXPECT_EQ(evaluation.status, Status::ok) << evaluation.message;
}

TEST_F(ProcessEvaluatorTest, SaysHowToGetACompilerForWhatIsNotBuiltIn) {
  const EnvironmentVariable variable("FCSA_CXX", "/nowhere/c++");
  ProcessEvaluator evaluator(options());
  const auto evaluation = evaluator.evaluate(candidate_of(right_));
  EXPECT_EQ(evaluation.status, Status::compile_failed);
  EXPECT_NE(evaluation.message.find("no C++ compiler"), std::string::npos) << evaluation.message;
  EXPECT_NE(evaluation.message.find("install"), std::string::npos) << evaluation.message;
}

TEST_F(ProcessEvaluatorTest, CompilesWithoutADevice) {
  const TextFamily broken("nonsense");
  const auto target = kernels::target_for_arch("generic");
  const std::vector<CompileJob> jobs{{candidate_of(right_), target},
                                     {candidate_of(broken), target},
                                     {candidate_of(right_, 3), target},
                                     {candidate_of(right_), target},
                                     {candidate_of(right_), kernels::target_for_arch("sm_90a")}};
  std::multiset<std::size_t> reported;
  const auto results = compile_all(
      jobs,
      {.executable = FCSA_WORKER_PROGRAM, .compile_jobs = 2, .cache_directory = options().cache_directory},
      [&](std::size_t index, const tuner::Evaluation&) { reported.insert(index); });
  ASSERT_EQ(results.size(), jobs.size());
  EXPECT_EQ(results[0].status, Status::ok) << results[0].message;
  EXPECT_EQ(results[1].status, Status::compile_failed);
  EXPECT_EQ(results[2].status, Status::pruned);
  EXPECT_EQ(results[3].status, Status::ok);
  EXPECT_EQ(results[4].status, Status::pruned);
  EXPECT_EQ(reported, (std::multiset<std::size_t>{0, 1, 2, 3, 4}));
}

TEST_F(ProcessEvaluatorTest, TakesTheInventoryInAChild) {
  const Inventory inventory = inventory_from_child(FCSA_WORKER_PROGRAM);
  ASSERT_FALSE(inventory.devices.empty());
  EXPECT_EQ(inventory.devices.back().info.target.kind, kernels::DeviceKind::cpu);
}

TEST_F(ProcessEvaluatorTest, SaysHowTheInventoryFailed) {
  const std::string program = write_script(file("program"), "echo broken driver; exit 9");
  try {
    inventory_from_child(program);
    FAIL() << "accepted";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("exited with status 9"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("broken driver"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace fcsa::runner
