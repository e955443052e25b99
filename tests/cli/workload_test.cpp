// --problems FILE: from the calls of a program to a tuned database, and files with mistakes.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/cli/program.h"
#include "tests/library/attention_case.h"
#include "tuner/trials/store.h"

namespace fcsa::cli {
namespace {

const std::string kHeader = "{\"format\":\"fcsa workload\",\"version\":1,\"name\":\"a model\"}\n";

std::filesystem::path write(const std::filesystem::path& file, const std::string& text) {
  std::ofstream(file) << text;
  return file;
}

// What a program that uses libfcsa would call, so often.
void call(const fcsa_problem& problem, int calls) {
  library::AttentionCase attention(problem);
  fcsa_options options = FCSA_OPTIONS_INIT;
  options.database = "";
  fcsa_library* library = nullptr;
  fcsa_plan* plan = nullptr;
  ASSERT_EQ(fcsa_open(&options, &library), FCSA_OK) << fcsa_last_error();
  ASSERT_EQ(fcsa_plan_create(library, &problem, &plan), FCSA_OK) << fcsa_last_error();
  const library::Memory workspace(fcsa_workspace_bytes(plan), 0);
  fcsa_tensors tensors = attention.tensors();
  tensors.workspace = workspace.data();
  tensors.workspace_bytes = workspace.bytes();
  for (int i = 0; i < calls; ++i)
    ASSERT_EQ(fcsa_forward(plan, &tensors, nullptr), FCSA_OK) << fcsa_last_error();
  fcsa_plan_destroy(plan);
  fcsa_close(library);
}

std::set<std::string> problems_in(const std::filesystem::path& db) {
  std::set<std::string> problems;
  for (const auto& stored : tuner::Store(db, tuner::Store::Mode::read_only).trials())
    problems.insert(kernels::to_text(stored.trial.problem));
  return problems;
}

TEST(Workload, WhatAProgramCalledIsTunedExplainedAndReported) {
  const TemporaryFolder folder;
  const std::string record = folder / "calls.jsonl", db = folder / "t.db";
  setenv("FCSA_RECORD", record.c_str(), 1);
  setenv("FCSA_CXX", "/nowhere/c++", 1);  // kernels that are built in run
  const auto frequent = library::forward_problem(FCSA_F32, 2, 40, 32);
  auto rare = frequent;
  rare.nk = 100;
  call(frequent, 8);
  call(rare, 1);
  unsetenv("FCSA_RECORD");
  unsetenv("FCSA_CXX");

  const std::vector<std::string> environment = {"XDG_CACHE_HOME=" + std::string(folder / "cache")};
  const auto tuned = run_fcsa({"tune", "--device", "cpu", "--problems", record, "--evals", "1", "--budget",
                               "300s", "--probes", "no", "--quiet", "--db", db},
                              environment);
  ASSERT_EQ(tuned.status, 0) << tuned.err;
  const std::set<std::string> expected = {kernels::to_text(library::problem_of(frequent)),
                                          kernels::to_text(library::problem_of(rare))};
  EXPECT_EQ(problems_in(db), expected);

  const auto explained =
      run_fcsa({"explain", "--device", "cpu", "--problems", record, "--db", db, "--json"}, environment);
  ASSERT_EQ(explained.status, 0) << explained.err;
  const auto json = nlohmann::json::parse(explained.out);
  EXPECT_EQ(json["known"], 2);
  EXPECT_EQ(json["unknown"], 0);
  double total = 0;
  for (const auto& row : json["problems"]) {
    EXPECT_EQ(row["match"], "exact");
    EXPECT_EQ(row["calls"], row["problem"] == kernels::to_text(library::problem_of(frequent)) ? 8 : 1);
    total += row["all_calls_ms"].get<double>();
  }
  EXPECT_NEAR(total, json["ms"].get<double>(), 1e-2 * total);

  const auto reported =
      run_fcsa({"report", "--problems", record, "--db", db, "--out", folder / "report"}, environment);
  ASSERT_EQ(reported.status, 0) << reported.err;
  EXPECT_NE(read_file(folder / "report" / "workload.csv").find(*expected.begin()), std::string::npos);
  EXPECT_NE(read_file(folder / "report" / "index.html").find("<h2>Workload: calls</h2>"), std::string::npos);
  EXPECT_NE(read_file(folder / "report" / "summary.md").find("## Workload: calls"), std::string::npos);
}

TEST(Workload, IsVerifiedAndBenchmarked) {
  const TemporaryFolder folder;
  const std::string file = write(folder / "w.jsonl", kHeader +
                                                         "{\"dtype\":\"f32\",\"head_dim\":32,\"heads\":1,"
                                                         "\"nq\":20,\"nk\":30}\n");
  const auto verified = run_fcsa({"verify", "--device", "cpu", "--problems", file});
  EXPECT_EQ(verified.status, 0) << verified.err;
  EXPECT_NE(verified.out.find("nq20 nk30"), std::string::npos) << verified.out;
  const auto listed = run_fcsa({"bench", "--device", "cpu", "--problems", file, "--benchmark_list_tests"});
  EXPECT_EQ(listed.status, 0) << listed.err;
  EXPECT_NE(listed.out.find("nq20/nk30"), std::string::npos) << listed.out;
}

TEST(Workload, MistakesAreNamedByEveryCommandThatTakesOne) {
  const TemporaryFolder folder;
  const std::string file =
      write(folder / "w.jsonl", kHeader + "{\"dtype\":\"f32\",\"head_dim\":32,\"heds\":1}\n");
  const std::string db = folder / "t.db";
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"tune", "--device", "cpu", "--db", db},
        {"verify", "--device", "cpu"},
        {"bench", "--device", "cpu"},
        {"explain", "--device", "cpu", "--db", db},
        {"report", "--db", db}}) {
    auto arguments = command;
    arguments.insert(arguments.end(), {"--problems", file});
    if (command[0] == "explain") tuner::Store(db, tuner::Store::Mode::read_write);
    const auto result = run_fcsa(arguments);
    EXPECT_EQ(result.status, 2) << command[0] << result.err;
    EXPECT_NE(result.err.find(file + ":2: there is no field 'heds': allowed are op, dtype"),
              std::string::npos)
        << command[0] << result.err;
  }
}

TEST(Workload, OfShapesThatNoKernelServesIsRefusedByLine) {
  const TemporaryFolder folder;
  const std::string file = write(
      folder / "w.jsonl", kHeader + "{\"dtype\":\"f32\",\"head_dim\":32,\"heads\":1,\"nq\":8,\"nk\":8}\n");
  const auto result =
      run_fcsa({"tune", "--device", "cpu", "--family", "simt", "--problems", file, "--db", folder / "t.db"});
  EXPECT_EQ(result.status, 2) << result.err;
  EXPECT_NE(result.err.find(file + ":2: no kernel serves 'forward f32 d32"), std::string::npos) << result.err;
}

TEST(Workload, ExcludesAGrid) {
  for (const std::vector<std::string>& grid : {std::vector<std::string>{"--seq", "64"}, {"--op", "bwd"}}) {
    const auto result = run_fcsa({"tune", "--device", "cpu", "--problems", "w.jsonl", grid[0], grid[1]});
    EXPECT_EQ(result.status, 2);
    EXPECT_NE(result.err.find("--problems: w.jsonl has the problems, leave " + grid[0] + " out"),
              std::string::npos)
        << result.err;
  }
}

}  // namespace
}  // namespace fcsa::cli
