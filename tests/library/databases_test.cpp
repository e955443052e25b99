#include <gtest/gtest.h>

#include "tests/library/gradient_case.h"
#include "tests/library/library_fixture.h"
#include "tests/library/tuned_database.h"
#include "tests/runner/write_file.h"

namespace fcsa::library {
namespace {

namespace fs = std::filesystem;

kernels::Problem tuned_problem(kernels::Op op = kernels::Op::forward) {
  kernels::Problem problem;
  problem.op = op;
  problem.heads = problem.kv_heads = 2;
  problem.head_dim = 16;
  problem.nq = problem.nk = 512;
  return problem;
}

// A database with one trial of this CPU, or of one that differs from it as `change` says.
void write_database(const fs::path& file, void (*change)(kernels::DeviceInfo&) = nullptr) {
  kernels::DeviceInfo device = runner::cpu::describe_cpu("g++");
  if (change != nullptr) change(device);
  write_tuned_database(file, tuned_problem(), device);
}

std::string other_configuration() {
  return configuration_of_tuned_database(16);
}

class DatabasesTest : public LibraryWithoutCompilerTest {
 protected:
  static std::string description(const LibraryPtr& library, int rows = 512, float scale = 8.0f) {
    fcsa_problem problem = forward_problem(FCSA_F32, 2, rows, 16);
    problem.scale = scale;
    return fcsa_describe(plan(library, problem).get());
  }
  fs::path file(const std::string& name) const { return home() / name; }
};

TEST_F(DatabasesTest, DecideForTheShapesThatWereTuned) {
  write_database(file("a.db"));
  const auto library = open(file("a.db").c_str());
  const std::string text = description(library);
  EXPECT_TRUE(contains(text, "configuration: " + other_configuration())) << text;
  EXPECT_TRUE(contains(text, "chosen: tuned at")) << text;
  EXPECT_TRUE(contains(text, file("a.db"))) << text;
  EXPECT_TRUE(said().empty()) << said().front();
}

TEST_F(DatabasesTest, DecideForShapesNearby) {
  write_database(file("a.db"));
  const std::string text = description(open(file("a.db").c_str()), 700);
  EXPECT_TRUE(contains(text, "configuration: " + other_configuration())) << text;
  EXPECT_TRUE(contains(text, "nearest tuned shape")) << text;
}

TEST_F(DatabasesTest, DecideWhateverTheScaleIsWhereTheKernelsAreTheSame) {
  write_database(file("a.db"));
  const auto library = open(file("a.db").c_str());
  EXPECT_TRUE(contains(description(library, 512, 4.0f), other_configuration()));
  // Its logits are not bounded as tightly as those kernels need.
  EXPECT_FALSE(contains(description(library, 512, 100.0f), other_configuration()));
}

TEST_F(DatabasesTest, DecideForTheBackwardPassWhicheverGradientsAreWanted) {
  write_tuned_database(file("a.db"), tuned_problem(kernels::Op::backward), runner::cpu::describe_cpu("g++"));
  const auto library = open(file("a.db").c_str());
  const std::string tuned = configuration_of_tuned_database(16, kernels::Op::backward);
  fcsa_problem problem = backward_problem(FCSA_F32, 2, 512, 16);
  const std::string text = fcsa_describe(plan(library, problem).get());
  EXPECT_TRUE(contains(text, "configuration: " + tuned + "\nchosen: tuned at")) << text;
  problem.scale = 4;
  problem.scale_gradient = problem.deterministic = 1;
  const std::string other = fcsa_describe(plan(library, problem).get());
  EXPECT_TRUE(contains(other, "configuration: " + tuned)) << other;
  EXPECT_TRUE(contains(description(library), "nothing like it was tuned"));  // of the forward pass
}

TEST_F(DatabasesTest, AreLookedForInTheirOrder) {
  const fs::path users = home() / "data" / "fcsa" / "tuning.db";
  write_database(users);
  EXPECT_TRUE(contains(description(open()), users));
  write_database(file("environment.db"));
  const testing::ScopedEnvironment variable("FCSA_DB", file("environment.db"));
  EXPECT_TRUE(contains(description(open()), file("environment.db")));
  write_database(file("named.db"));
  EXPECT_TRUE(contains(description(open(file("named.db").c_str())), file("named.db")));
  EXPECT_TRUE(contains(description(open("")), "nothing like it was tuned"));
}

TEST_F(DatabasesTest, OfAnotherProcessorOfTheKindAreUsedAndSaySo) {
  write_database(file("a.db"), [](kernels::DeviceInfo& device) {
    device.uuid = "CPU-other";
    device.name = "Other Processor";
    device.target.multiprocessors += 14;
  });
  const std::string text = description(open(file("a.db").c_str()));
  EXPECT_TRUE(contains(text, "configuration: " + other_configuration())) << text;
  EXPECT_TRUE(contains(text, "on Other Processor")) << text;
}

TEST_F(DatabasesTest, OfAnotherInstructionSetAreNotUsed) {
  write_database(file("a.db"), [](kernels::DeviceInfo& device) {
    device.uuid = "CPU-other";
    device.target.arch = device.target.arch == "avx2" ? "avx512" : "avx2";
  });
  const std::string text = description(open(file("a.db").c_str()));
  EXPECT_TRUE(contains(text, "nothing like it was tuned")) << text;
}

TEST_F(DatabasesTest, ThatAreMissingAreReportedOnceAndDoneWithout) {
  const auto library = open(file("missing.db").c_str());
  for (const int rows : {16, 32, 48}) {
    const std::string text = description(library, rows);
    EXPECT_TRUE(contains(text, "nothing like it was tuned")) << text;
    EXPECT_TRUE(contains(text, "note: " + file("missing.db").string())) << text;
  }
  ASSERT_EQ(said().size(), 1U);
  EXPECT_TRUE(contains(said()[0], "there is no such tuning database")) << said()[0];
}

TEST_F(DatabasesTest, ThatAreBrokenAreReportedOnceAndDoneWithout) {
  testing::write_file(file("broken.db"), std::string(8192, 'x'));
  const auto library = open(file("broken.db").c_str());
  EXPECT_TRUE(contains(description(library), "nothing like it was tuned"));
  EXPECT_TRUE(contains(description(library, 32), "nothing like it was tuned"));
  ASSERT_EQ(said().size(), 1U);
  EXPECT_TRUE(contains(said()[0], "is not a tuning database")) << said()[0];
}

TEST_F(DatabasesTest, ThatNobodyMadeAreReportedOnce) {
  const testing::ScopedEnvironment nothing_shipped("FCSA_TUNED_DATA", "");
  const auto library = open();
  description(library);
  description(library, 32);
  ASSERT_EQ(said().size(), 1U);
  EXPECT_TRUE(contains(said()[0], "no tuning database was found")) << said()[0];
}

TEST_F(DatabasesTest, ThatAreNotWantedAreNotMissed) {
  description(open(""));
  EXPECT_TRUE(said().empty()) << said().front();
}

}  // namespace
}  // namespace fcsa::library
