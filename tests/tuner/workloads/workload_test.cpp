#include "tuner/workloads/workload.h"

#include <gtest/gtest.h>

#include "tests/kernels/changed_problems.h"
#include "tuner/workloads/problem_fields.h"
#include "tuner/workloads/served.h"
#include "tuner/workloads/workload_lines.h"

namespace fcsa::tuner {
namespace {

const std::string kHeader = "{\"format\":\"fcsa workload\",\"version\":1}\n";
const std::string kProblem = R"({"dtype":"bf16","head_dim":64,"heads":12,"nq":197,"nk":300})";

std::string error_of(const std::string& text) {
  try {
    workload_from_text(text, "w.jsonl");
  } catch (const WorkloadError& error) {
    return error.what();
  }
  return "no error";
}

// `with` in place of the last bracket.
std::string problem_with(const std::string& with) {
  return kHeader + kProblem.substr(0, kProblem.size() - 1) + "," + with + "}\n";
}

std::string recorded(const std::string& process, int count) {
  auto line = kProblem;
  line.insert(1, "\"process\":{\"pid\":" + process + "},");
  line.insert(line.size() - 1, ",\"count\":" + std::to_string(count));
  return line + "\n";
}

TEST(WorkloadFile, HasAProblemALineWithDefaultsWhereNothingIsStated) {
  const auto workload = workload_from_text(
      "{\"format\":\"fcsa workload\",\"version\":1,\"name\":\"ViT\",\"source\":\"a paper\"}\n\n" + kProblem +
          "\n",
      "w.jsonl");
  EXPECT_EQ(workload.name, "ViT");
  EXPECT_EQ(workload.source, "a paper");
  ASSERT_EQ(workload.entries.size(), 1u);
  EXPECT_EQ(kernels::to_text(workload.entries[0].problem),
            "forward bf16 d64 b1 h12 kv12 nq197 nk300 bhnd scale=8");
  EXPECT_EQ(workload.entries[0].count, 1u);
  EXPECT_EQ(workload.entries[0].line, 3u);
}

TEST(WorkloadFile, EveryFieldOfAProblemIsWrittenAndRead) {
  const auto base = kernels::problem_with_everything();
  for (const auto& [field, scope, problem] : kernels::changed_problems(base)) {
    const auto text = kHeader + problem_fields(problem).dump();
    EXPECT_EQ(workload_from_text(text, "w.jsonl").entries.at(0).problem, problem) << field;
  }
}

TEST(WorkloadFile, CsvSaysTheSameAsJson) {
  const auto csv = workload_from_text(
      "\xEF\xBB\xBF# fcsa workload 1\r\n# by hand\r\nname,count,dtype,head_dim,heads,nq,nk,causal,op\r\n"
      "\"a, \"\"b\"\"\",7,bf16,64,12,197,300,true,\r\n,,f32,32,2,64,64,false,bwd\r\n",
      "w.csv");
  ASSERT_EQ(csv.entries.size(), 2u);
  EXPECT_EQ(csv.entries[0].name, "a, \"b\"");
  EXPECT_EQ(csv.entries[0].count, 7u);
  auto expected = workload_from_text(problem_with("\"causal\":true"), "w.jsonl").entries[0].problem;
  EXPECT_EQ(csv.entries[0].problem, expected);
  EXPECT_EQ(csv.entries[1].problem.op, kernels::Op::backward);
  EXPECT_EQ(csv.entries[1].line, 5u);
}

TEST(WorkloadFile, MistakesAreNamedWithFileLineAndWhatIsAllowed) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "w.jsonl:1: the file is empty"},
      {kHeader, "w.jsonl:1: there is no problem in it"},
      {kProblem, "w.jsonl:1: the first line must be {\"format\":\"fcsa workload\",\"version\":1}"},
      {"{\"format\":\"fcsa workload\",\"version\":2}\n" + kProblem,
       "w.jsonl:1: version is 2: this fcsa reads version 1"},
      {"# fcsa workload 3\ndtype\n", "w.jsonl:1: version is 3"},
      {"{\"format\":\"other\",\"version\":1}", "format is \"other\""},
      {problem_with("\"heds\":3"), "w.jsonl:2: there is no field 'heds': allowed are op, dtype"},
      {problem_with("\"batch\":-1"), "w.jsonl:2: batch is -1: it must be at least 1"},
      {problem_with("\"batch\":1.5"), "w.jsonl:2: batch is 1.5: it must be a whole number"},
      {problem_with("\"batch\":99999999999"), "w.jsonl:2: batch is 99999999999"},
      {problem_with("\"causal\":1"), "w.jsonl:2: causal is 1: it must be true or false"},
      {problem_with("\"bias\":\"big\""), "w.jsonl:2: bias: 'big' is not a bias: use none, f32 or same"},
      {problem_with("\"kv_heads\":5"), "w.jsonl:2: heads is 12 and kv_heads 5"},
      {problem_with("\"count\":0"), "w.jsonl:2: count is 0: it must be a whole number from 1"},
      {problem_with("\"device\":\"tpu\""), "w.jsonl:2: device is \"tpu\""},
      {problem_with("\"batch\":2,\"batch\":3"), "w.jsonl:2: \"batch\" is there twice"},
      {kHeader + kProblem + "\n" + kProblem, "w.jsonl:3: the same problem as in line 2"},
      {kHeader + "{\"dtype\":\"bf16\",\"head_dim\":64,\"heads\":2,\"nq\":1}", "w.jsonl:2: nk is missing"},
      {kHeader + kProblem.substr(0, 20), "w.jsonl:2: it is not JSON"},
      {kHeader + "[1]", "w.jsonl:2: it is not an object"},
      {"# fcsa workload 1\ndtype,heads\nbf16\n", "w.jsonl:3: 1 cells, and 2 columns: dtype,heads"},
      {"# fcsa workload 1\ndtype,dtype\n", "w.jsonl:2: there are two columns 'dtype'"},
      {"# fcsa workload 1\nname\n\"x\n", "w.jsonl:3: a quote has no end"},
  };
  for (const auto& [text, message] : cases)
    EXPECT_NE(error_of(text).find(message), std::string::npos) << message << "\n" << error_of(text);
}

TEST(RecordedWorkload, TheLargestCountOfEachProcessCounts) {
  const auto text = kHeader + recorded("1", 1) + recorded("2", 1) + kHeader + recorded("1", 8) +
                    recorded("1", 4) + recorded("2", 2);
  const auto workload = workload_from_text(text, "r.jsonl");
  ASSERT_EQ(workload.entries.size(), 1u);
  EXPECT_EQ(workload.entries[0].count, 10u);
  EXPECT_TRUE(workload.entries[0].recorded);
}

TEST(RecordedWorkload, ALineThatIsCutOffIsLeftOutAndNamed) {
  const auto line = recorded("1", 4);
  const auto workload =
      workload_from_text(kHeader + line + line.substr(0, line.size() - 9) + "\n{\"pro\n", "r.jsonl");
  EXPECT_EQ(workload.entries.at(0).count, 4u);
  ASSERT_EQ(workload.notes.size(), 2u);
  EXPECT_NE(workload.notes[0].find("r.jsonl:3: the line is cut off"), std::string::npos);
}

kernels::Target cpu() {
  kernels::Target target;
  target.kind = kernels::DeviceKind::cpu;
  target.arch = "generic";
  return target;
}

TEST(ServedProblems, WhatWasWrittenAndNobodyServesIsAnErrorWhatWasRecordedANote) {
  const std::string other = "{\"dtype\":\"bf16\",\"head_dim\":64,\"heads\":12,\"nq\":64,\"nk\":64}\n";
  const std::vector<const kernels::Family*> none;
  const auto written = workload_from_text(kHeader + other, "w.jsonl");
  try {
    served_problems(written, cpu(), none);
    FAIL();
  } catch (const WorkloadError& error) {
    EXPECT_NE(std::string(error.what()).find("w.jsonl:2: no kernel serves 'forward bf16 d64"),
              std::string::npos);
  }
  std::vector<const kernels::Family*> families;
  for (const auto& family : kernels::families()) families.push_back(family.get());
  EXPECT_EQ(served_problems(written, cpu(), families).problems.size(), 1u);
  try {
    served_problems(workload_from_text(kHeader + recorded("1", 2), "r.jsonl"), cpu(), none);
    FAIL();
  } catch (const WorkloadError& error) {
    EXPECT_NE(std::string(error.what()).find("none of its problems is for this device"), std::string::npos);
  }
}

TEST(ServedProblems, AreThoseOfTheKindOfDevice) {
  std::vector<const kernels::Family*> families;
  for (const auto& family : kernels::families()) families.push_back(family.get());
  const auto text = problem_with("\"device\":\"cuda\"") + kProblem + "\n";
  EXPECT_EQ(served_problems(workload_from_text(text, "w.jsonl"), cpu(), families).problems.size(), 1u);
}

}  // namespace
}  // namespace fcsa::tuner
