#include "tuner/emit/emit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "tests/tuner/emit/compile_run.h"
#include "tests/tuner/emit/sample_tables.h"
#include "tuner/emit/text.h"

namespace fcsa::tuner {
namespace {

namespace fs = std::filesystem;

std::string contents(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string header_of(const DispatchTable& table) {
  return emitted_text(emission_of(table), Format::header);
}

std::string opening_of(const std::string& header) {
  return header.substr(0, header.find("#ifndef"));
}

TEST(EmitHeader, NamesTheFileAfterTheArchitectureAndTheForm) {
  Emission emission = emission_of(simt_table("sm_90a"));
  EXPECT_EQ(emitted_name(emission, Format::header), "fcsa_tuned_sm_90.cuh");
  EXPECT_EQ(emitted_name(emission, Format::json), "fcsa_tuned_sm_90.json");
  emission.compiled.resize(emission.plan.variants.size());
  EXPECT_EQ(emitted_name(emission, Format::header), "fcsa_tuned_sm_90.h");
  EXPECT_EQ(emitted_name(emission_of(simt_table("sm_75")), Format::header), "fcsa_tuned_sm_75.cuh");
  EXPECT_EQ(emitted_name(emission_of(cpu_table()), Format::header), "fcsa_tuned_cpu.h");
  EXPECT_EQ(emitted_name(emission_of(cpu_table()), Format::json), "fcsa_tuned_cpu.json");
}

TEST(EmitHeader, WritesTheTextAndLeavesNothingElse) {
  const ScratchDirectory scratch;
  const Emission emission = emission_of(simt_table("sm_80"));
  const fs::path path = emit(emission, Format::header, scratch.path() / "new" / "include");
  EXPECT_EQ(path, scratch.path() / "new" / "include" / "fcsa_tuned_sm_80.cuh");
  EXPECT_EQ(contents(path), emitted_text(emission, Format::header));
  EXPECT_EQ(std::distance(fs::directory_iterator(path.parent_path()), fs::directory_iterator{}), 1);
}

TEST(EmitHeader, SaysWhereItCannotWriteAndWhatToDo) {
  const ScratchDirectory scratch;
  std::ofstream(scratch.path() / "file") << "not a directory";
  try {
    emit(emission_of(simt_table("sm_80")), Format::header, scratch.path() / "file");
    FAIL() << "no exception";
  } catch (const std::runtime_error& error) {
    EXPECT_TRUE(contains(error.what(), (scratch.path() / "file").string())) << error.what();
    EXPECT_TRUE(contains(error.what(), "--out")) << error.what();
  }
}

TEST(EmitHeader, LeavesTheOldFileWhenTheNewOneCannotBeMade) {
  const ScratchDirectory scratch;
  Emission emission = emission_of(simt_table("sm_80"));
  const fs::path path = emit(emission, Format::header, scratch.path());
  const std::string before = contents(path);
  emission.plan.variants.front().configuration.kernel = "nothing.forward";
  emission.plan.variants.front().configuration.values = {{"nothing", 1}};
  EXPECT_THROW(emit(emission, Format::header, scratch.path()), std::exception);
  EXPECT_EQ(contents(path), before);
}

TEST(EmitHeader, OpensWithLicenceUseAndProvenance) {
  const std::string text = opening_of(header_of(simt_table("sm_90a")));
  EXPECT_TRUE(text.starts_with("// SPDX-License-Identifier: MIT\n"));
  for (const char* part :
       {"tuned for Imaginary GPU", "nvcc -std=c++20 -O2 -gencode arch=compute_90a,code=sm_90a",
        "namespace tuned = fcsa_tuned::sm_90;", "driver    1.0", "compiler  a compiler",
        "2026-01-02T03:04:05Z to 2026-01-02T04:05:06Z", "345, of which 321",
        "unchanged since they were measured", "fcsa tune --seq 128:4096 --db tuning.db",
        "fcsa emit --db tuning.db"})
    EXPECT_TRUE(contains(text, part)) << part << "\n" << text;
}

TEST(EmitHeader, OpensWithATableOfWhatWasTunedAndWhatTheChoiceCosts) {
  const std::string text = opening_of(header_of(simt_table("sm_90a")));
  for (const char* part : {"shapes    lengths  kernels  regret  unseen  worst   gain",
                           "f32 d64 causal scale=8       4  128..4096        2    1.5%    0.5%   2.5%  1.10x",
                           "within 2% of the best"})
    EXPECT_TRUE(contains(text, part)) << part << "\n" << text;
}

// Every field of the example is one that the problem needs.
TEST(EmitHeader, OpensWithACallOfSomethingThatWasTuned) {
  EXPECT_TRUE(contains(header_of(simt_table("sm_80")), "a.dtype = tuned::DType::f32;\n"));
  const std::string text = opening_of(header_of(wgmma_table()));
  EXPECT_TRUE(contains(text, "a.dtype = tuned::DType::bf16;\n")) << text;
  EXPECT_TRUE(contains(text, "a.causal = true;\n")) << text;
  EXPECT_FALSE(contains(text, "a.bias")) << text;
}

TEST(EmitHeader, ListsWhereItsPartsAre) {
  const std::string text = header_of(simt_table("sm_80"));
  std::vector<std::string> lines = {""};
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  std::size_t parts = 0;
  for (auto line = std::find(lines.begin(), lines.end(), "// Contents, by line:") + 1; *line != ""; ++line) {
    std::istringstream words(line->substr(2));
    std::size_t number = 0;
    std::string title;
    words >> number >> std::ws;
    std::getline(words, title);
    ASSERT_LT(number, lines.size());
    EXPECT_EQ(lines[number], "// ---- " + title + " ----");
    ++parts;
  }
  EXPECT_GE(parts, 7u);
}

TEST(EmitHeader, SaysWhichOfItsKernelsWereNotVerified) {
  const Emission emission = emission_of(cpu_table());
  const std::string opening = opening_of(emitted_text(emission, Format::header));
  EXPECT_TRUE(contains(opening, "Not verified on the device before this was made"));
  ASSERT_GT(emission.plan.variants.size(), emission.plan.tuned_variants);
  for (std::size_t i = emission.plan.tuned_variants; i < emission.plan.variants.size(); ++i)
    EXPECT_TRUE(contains(opening, kernels::class_text(emission.plan.variants[i].problem)));
}

TEST(EmitHeader, OpensWithLinesThatFitAScreen) {
  for (const auto& table : {simt_training_table("sm_90a"), wgmma_table(), cpu_table()}) {
    std::istringstream stream(opening_of(header_of(table)));
    for (std::string line; std::getline(stream, line);) EXPECT_LE(line.size(), kLineWidth) << line;
  }
}

TEST(EmitHeader, IsTheSameForTheSameTrials) {
  EXPECT_EQ(header_of(cpu_table()), header_of(cpu_table()));
}

TEST(EmitHeader, OpensWithACallOfTheBackwardPassWhereThereIsOne) {
  const std::string text = opening_of(header_of(simt_training_table("sm_80")));
  EXPECT_TRUE(contains(text, "tuned::forward(a, workspace, stream)")) << text;
  EXPECT_TRUE(contains(text, "tuned::backward(a, workspace, stream)")) << text;
  EXPECT_TRUE(contains(text, "backward f32 d64 scale=8 ")) << text;
}

TEST(EmitHeader, HasNothingOfABackwardPassThatWasNotTuned) {
  for (const auto& table : {simt_table("sm_80"), cpu_table()}) {
    const std::string text = header_of(table);
    EXPECT_FALSE(contains(opening_of(text), "backward"));
    EXPECT_FALSE(contains(text, "BackwardConfig"));
    EXPECT_TRUE(contains(text, "\"no backward pass\""));
  }
}

TEST(EmitHeader, NamesTheSourceThatEachTunedKernelWasMeasuredWith) {
  EXPECT_TRUE(contains(header_of(simt_table("sm_80")), "// measured with the source hash of simt.forward{"));
}

}  // namespace
}  // namespace fcsa::tuner
