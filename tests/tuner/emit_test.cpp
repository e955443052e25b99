#include "tuner/emit.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <limits>
#include <random>
#include <set>
#include <sstream>

#include "tests/tuner/compile_run.h"
#include "tests/tuner/sample_tables.h"
#include "tuner/emit_plan.h"
#include "tuner/emit_text.h"

// What emitted headers contain, compiled here as it stands.
namespace emitted {
#include "tuner/emitted/attention.h"
namespace detail {
inline constexpr char kServes[] = "";
}
#include "tuner/emitted/selection.h"
namespace detail {
inline int multiprocessors_or(int tuned) {
  return tuned;
}
}  // namespace detail
}  // namespace emitted

namespace fcsa::tuner {
namespace {

namespace fs = std::filesystem;
using kernels::DType;
using kernels::Problem;
using kernels::Softmax;

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

TEST(EmitHeader, OpensWithLinesThatFitAScreen) {
  for (const auto& table : {simt_table("sm_90a"), wgmma_table(), cpu_table()}) {
    std::istringstream stream(opening_of(header_of(table)));
    for (std::string line; std::getline(stream, line);) EXPECT_LE(line.size(), kLineWidth) << line;
  }
}

TEST(EmitHeader, IsTheSameForTheSameTrials) {
  EXPECT_EQ(header_of(cpu_table()), header_of(cpu_table()));
}

TEST(EmitHeader, SaysWhatWasLeftOutAndWhy) {
  DispatchTable table = simt_table("sm_80");
  table.classes.push_back(table.classes.front());
  table.classes.back().class_text = "backward f32 d64 scale=8";
  for (auto& entry : table.classes.back().entries) entry.problem.op = kernels::Op::backward;
  EXPECT_TRUE(
      contains(header_of(table), "left out: backward f32 d64 scale=8: headers have the forward pass only"));
}

TEST(EmitHeader, NamesTheSourceThatEachTunedKernelWasMeasuredWith) {
  EXPECT_TRUE(contains(header_of(simt_table("sm_80")), "// measured with the source hash of simt.forward{"));
}

TEST(EmitPlan, TunedClassesKeepTheirConfigurationsAndShapes) {
  const DispatchTable table = simt_table("sm_90a");
  const EmitPlan plan = plan_emission(table);
  ASSERT_EQ(plan.tuned_classes, table.classes.size());
  EXPECT_EQ(plan.tuned_variants, 4u);
  for (std::size_t i = 0; i < plan.tuned_classes; ++i) {
    ASSERT_EQ(plan.classes[i].shapes.size(), table.classes[i].entries.size());
    for (std::size_t j = 0; j < plan.classes[i].shapes.size(); ++j) {
      const EmittedVariant& variant = plan.variants[plan.classes[i].shapes[j].variant];
      EXPECT_EQ(kernels::to_text(*variant.family, kernels::Op::forward, variant.configuration),
                table.classes[i].configurations[table.classes[i].entries[j].choice]);
      EXPECT_EQ(variant.traits, table.classes[i].traits);
    }
  }
}

TEST(EmitPlan, ServesMasksCausalityAnyScaleAndRawInputsNextToWhatWasTuned) {
  const EmitPlan plan = plan_emission(cpu_table());
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (int bits = 0; bits < 12; ++bits) {
      kernels::Traits traits{.dtype = dtype, .head_dim = dtype == DType::f32 ? 64 : 32};
      traits.causal = bits % 2;
      traits.key_mask = bits / 2 % 2;
      traits.softmax = bits / 4 == 0 ? Softmax::fixed_bound : Softmax::running_maximum;
      traits.l2norm_qk = bits / 4 != 2;
      const auto found = std::count_if(plan.classes.begin(), plan.classes.end(),
                                       [&](const auto& c) { return c.traits == traits; });
      EXPECT_EQ(found, 1) << kernels::traits_literal(traits);
    }
  }
}

TEST(EmitPlan, EveryConfigurationIsValidForItsClass) {
  for (const auto& table : {simt_table("sm_90a"), simt_table("sm_75"), cpu_table()}) {
    for (const auto& v : plan_emission(table).variants) {
      Problem problem;
      problem.dtype = v.traits.dtype;
      problem.head_dim = v.traits.head_dim;
      problem.causal = v.traits.causal;
      problem.key_mask = v.traits.key_mask;
      problem.l2norm_qk = v.traits.l2norm_qk;
      problem.bias = v.traits.bias;
      problem.head_scale = v.traits.head_scale;
      problem.scale = v.traits.softmax == Softmax::fixed_bound ? 8.0f : 1000.0f;
      ASSERT_EQ(kernels::traits_of(problem), v.traits);
      EXPECT_EQ(kernels::invalid_reason(*v.family, problem, v.configuration, table.device.target), "")
          << kernels::to_text(*v.family, kernels::Op::forward, v.configuration);
    }
  }
}

TEST(EmitPlan, ClassesThatDifferOnlyInScaleShareKernels) {
  DispatchTable table = simt_table("sm_80");
  DispatchClass other = table.classes.front();
  other.class_text = "forward f32 d64 scale=10";
  for (auto& entry : other.entries) entry.problem.scale = 10.0f, entry.problem.nq *= 2;
  table.classes.push_back(other);
  const EmitPlan plan = plan_emission(table);
  EXPECT_EQ(plan.tuned_classes, 2u);
  EXPECT_EQ(plan.tuned_variants, 4u);
  EXPECT_EQ(plan.classes.front().shapes.size(), 8u);
}

// The one class of the CPU table that has a bias, with changes.
EmitPlan plan_of_biased_class(const std::function<void(Problem&)>& change) {
  DispatchTable table = cpu_table();
  std::erase_if(table.classes, [](const auto& c) { return c.traits.bias == kernels::Bias::none; });
  EXPECT_EQ(table.classes.size(), 1u);
  DispatchClass& c = table.classes.front();
  for (auto& entry : c.entries) change(entry.problem);
  c.traits = kernels::traits_of(c.entries.front().problem);
  return plan_emission(table);
}

TEST(EmitPlan, ABiasOrAScalePerHeadIsServedAsItWasTunedOnly) {
  const EmitPlan plan = plan_of_biased_class([](Problem&) {});
  ASSERT_EQ(plan.classes.size(), 1u);
  EXPECT_TRUE(plan.classes[0].traits.head_scale);
  EXPECT_EQ(plan.classes[0].traits.bias, kernels::Bias::same) << "which is f32";
  EXPECT_EQ(plan.classes[0].traits.softmax, Softmax::running_maximum);
}

TEST(EmitPlan, ABiasTunedWithAStatedBoundIsServedWithoutItToo) {
  const EmitPlan plan = plan_of_biased_class([](Problem& p) { p.logit_bound = 20.0f; });
  ASSERT_EQ(plan.classes.size(), 2u);
  EXPECT_EQ(plan.classes[0].traits.softmax, Softmax::fixed_bound);
  EXPECT_EQ(plan.classes[1].traits.softmax, Softmax::running_maximum);
}

TEST(EmitPlan, LeavesOutWhatWasNotTunedWhenAskedTo) {
  const EmitPlan plan = plan_emission(simt_table("sm_80"), Serve::tuned);
  EXPECT_EQ(plan.classes.size(), 2u);
  EXPECT_EQ(plan.variants.size(), 4u);
}

// Binaries are compiled for the problem of a variant.
TEST(EmitPlan, EveryVariantHasAProblemOfItsTraits) {
  for (const auto& table : {simt_table("sm_90a"), wgmma_table(), cpu_table()})
    for (const auto& v : plan_emission(table).variants)
      EXPECT_EQ(kernels::traits_of(v.problem), v.traits) << kernels::to_text(v.problem);
}

TEST(EmitPlan, RefusesATableWithNothingToServe) {
  DispatchTable table = simt_table("sm_80");
  for (auto& c : table.classes)
    for (auto& entry : c.entries) entry.problem.op = kernels::Op::backward;
  try {
    plan_emission(table);
    FAIL() << "no exception";
  } catch (const std::runtime_error& error) {
    EXPECT_TRUE(contains(error.what(), "forward pass only")) << error.what();
  }
}

TEST(HeaderText, MovesSystemIncludesToTheTopWithTheirConditions) {
  HeaderText text;
  text.add(
      "#include <cmath>\n#if A\n#include <x.h>\n#else\n#  include <y.h>\nint b;\n#endif\n#include <cmath>\n");
  const std::string header =
      text.str({.comment = "// comment\n", .guard = "GUARD", .space = "a::b", .checks = ""});
  const std::string top = header.substr(0, header.find("namespace a::b {"));
  const std::string inside = header.substr(top.size());
  EXPECT_TRUE(contains(top, "#include <cmath>\n"));
  EXPECT_TRUE(contains(top, "#if A\n#include <x.h>\n#endif\n"));
  EXPECT_TRUE(contains(top, "#if A\n#else\n#  include <y.h>\n#endif\n"));
  EXPECT_FALSE(contains(inside, "include <"));
  EXPECT_TRUE(contains(inside, "int b;"));
}

TEST(HeaderText, RestoresEveryMacroThatItDefines) {
  HeaderText text;
  text.add("#define FCSA_ONE 1\n# define FCSA_TWO(x) x\n");
  const std::string header = text.str({.comment = "", .guard = "GUARD", .space = "a", .checks = ""});
  for (const char* macro : {"FCSA_ONE", "FCSA_TWO"}) {
    const std::string name = macro;
    EXPECT_LT(header.find("#pragma push_macro(\"" + name + "\")"), header.find("namespace a {"));
    EXPECT_GT(header.find("#undef " + name + "\n#pragma pop_macro(\"" + name + "\")"),
              header.find("}  // namespace a"));
  }
}

emitted::Attention attention_of(const Problem& p) {
  emitted::Attention a;
  static const unsigned char mask = 1;
  a.dtype = p.dtype;
  a.head_dim = p.head_dim;
  a.batch = p.batch;
  a.heads = p.heads;
  a.kv_heads = p.kv_heads;
  a.nq = p.nq;
  a.nk = p.nk;
  a.causal = p.causal;
  a.key_mask = p.key_mask ? &mask : nullptr;
  a.layout = p.layout == kernels::Layout::bhnd ? emitted::Layout::bhnd : emitted::Layout::bnhd;
  a.scale = p.scale;
  a.l2norm_qk = p.l2norm_qk;
  a.groups = p.groups;
  a.logit_bound = p.logit_bound.value_or(0.0f);
  a.allow_tf32 = p.allow_tf32;
  static const float scales[64] = {}, bias = 0;
  a.head_scale = p.head_scale ? scales : nullptr;
  if (p.bias == kernels::Bias::none) return a;
  a.bias = &bias;
  a.bias_dtype = p.bias == kernels::Bias::same ? p.dtype : DType::f32;
  a.bias_batch = p.bias_batch, a.bias_heads = p.bias_heads;
  return a;
}

TEST(EmittedSelection, TakesTheTraitsAndArgumentsThatTheTunerTook) {
  for (const DType dtype : {DType::f32, DType::f16}) {
    for (const float scale : {-8.0f, 8.0f, 10.5f, 43.0f, 43.5f, 100.0f}) {
      for (int bits = 0; bits < 16; ++bits) {
        Problem p;
        p.dtype = dtype;
        p.scale = scale;
        p.batch = 2, p.heads = 6, p.kv_heads = 3, p.nq = 17, p.nk = 33;
        p.causal = bits & 1;
        p.l2norm_qk = bits & 2;
        if (bits & 4) p.logit_bound = 50.0f;
        if (bits & 8) p.layout = kernels::Layout::bnhd, p.key_mask = true, p.groups = 2;
        EXPECT_EQ(emitted::detail::traits_of(attention_of(p)), kernels::traits_of(p)) << kernels::to_text(p);
        const kernels::Args expected = kernels::shape_args(p),
                            args = emitted::detail::args_of(attention_of(p));
        EXPECT_EQ(args.bound, expected.bound);
        EXPECT_EQ(args.key_mask_stride, expected.key_mask_stride);
        EXPECT_EQ(args.o_strides.head, expected.o_strides.head);
        EXPECT_EQ(args.v_strides.batch, expected.v_strides.batch);
        EXPECT_EQ(args.q_strides.row, expected.q_strides.row);
      }
    }
  }
}

TEST(EmittedSelection, TakesTheBiasTheScalePerHeadAndTf32ThatTheTunerTook) {
  for (int bits = 0; bits < 64; ++bits) {
    Problem p;
    p.dtype = bits & 1 ? DType::bf16 : DType::f32;
    p.batch = 4, p.heads = 6, p.kv_heads = 3, p.nq = 17, p.nk = 33;
    p.layout = kernels::Layout::bnhd;
    p.head_scale = bits & 2;
    p.allow_tf32 = (bits & 4) && p.dtype == DType::f32;
    if (bits & 8) p.bias = bits & 1 ? kernels::Bias::f32 : kernels::Bias::same;
    if (bits & 8 && bits & 16) p.bias_batch = 2, p.bias_heads = 1;
    if (bits & 32) p.logit_bound = 20.0f;
    EXPECT_EQ(emitted::detail::traits_of(attention_of(p)), kernels::traits_of(p)) << kernels::to_text(p);
    const kernels::Args expected = kernels::shape_args(p), args = emitted::detail::args_of(attention_of(p));
    EXPECT_EQ(args.bias_batch, expected.bias_batch);
    EXPECT_EQ(args.bias_heads, expected.bias_heads);
    EXPECT_EQ(args.bias_strides.batch, expected.bias_strides.batch);
    EXPECT_EQ(args.bias_strides.head, expected.bias_strides.head);
    EXPECT_EQ(args.bias_strides.row, expected.bias_strides.row);
    EXPECT_EQ(args.bias != nullptr, p.bias != kernels::Bias::none);
    EXPECT_EQ(args.head_scale != nullptr, p.head_scale);
  }
}

int size_up_to(int largest, std::mt19937& random) {
  return static_cast<int>(std::exp2(std::log2(largest) * (random() % 1000) / 1000.0));
}

// Shapes all over, and three configurations of different tiles that some of them were measured with.
DispatchTable table_of_random_shapes(std::mt19937& random) {
  DispatchTable table = simt_table("sm_80");
  table.classes.resize(1);
  DispatchClass& c = table.classes.front();
  c.configurations = {"simt.forward{}", "simt.forward{warps=2}", "simt.forward{warps=8}"};
  Problem p = c.entries.front().problem;
  c.entries.clear();
  for (int i = 0; i < 40; ++i) {
    p.nq = size_up_to(65536, random), p.nk = size_up_to(65536, random), p.batch = size_up_to(64, random);
    DispatchEntry entry{.problem = p, .choice = random() % 3};
    for (std::size_t j = 0; j < 3; ++j)
      entry.times_ms.push_back(j == entry.choice || random() % 2
                                   ? 1e-9 * p.nq * p.nk * p.batch * (1 + random() % 100 / 1000.0)
                                   : 0);
    c.entries.push_back(entry);
  }
  c.rule = fit_rule(c, table.device.target.multiprocessors);
  return table;
}

TEST(EmittedSelection, ChoosesWhatTheTunerChooses) {
  std::mt19937 random(7);
  const DispatchTable table = table_of_random_shapes(random);
  const DispatchClass& c = table.classes.front();
  std::vector<emitted::detail::Shape> shapes;
  for (const auto& entry : c.entries) {
    const Problem& p = entry.problem;
    shapes.push_back({p.nq, p.nk, p.batch, p.heads, p.kv_heads, emitted::Layout::bhnd,
                      static_cast<int>(entry.choice), 1.0});
  }
  const int variants[] = {0, 1, 2};
  const emitted::detail::Class of{c.traits, 0, static_cast<int>(shapes.size()), 0, 0, 3, 0};
  const emitted::detail::Table emitted_table{&of,
                                             1,
                                             shapes.data(),
                                             c.rule.positions.data(),
                                             c.rule.models.data(),
                                             variants,
                                             c.rule.corrections.data(),
                                             table.device.target.multiprocessors};
  std::set<int> chosen;
  for (int i = 0; i < 500; ++i) {
    Problem p = c.entries[random() % c.entries.size()].problem;
    if (i % 2) p.nq = size_up_to(65536, random), p.nk = size_up_to(65536, random);
    const Choice expected = choose(table, p);
    const auto choice = emitted::detail::choose(emitted_table, attention_of(p));
    ASSERT_NE(choice.shape, nullptr);
    EXPECT_EQ(c.configurations.at(static_cast<std::size_t>(choice.variant)), expected.configuration)
        << kernels::to_text(p);
    chosen.insert(choice.variant);
  }
  EXPECT_EQ(chosen.size(), 3u);
}

// Without tuned shapes.
emitted::detail::Table table_of(const emitted::detail::Class& of) {
  return {&of, 1, nullptr, nullptr, nullptr, nullptr, nullptr, 1};
}

TEST(EmittedSelection, FallsBackToExactProductsWhereTf32IsAllowedAndNotTheOtherWay) {
  const emitted::detail::Class exact{{}, 0, 0, 3, 0, 0, 0};
  emitted::Attention a;
  a.allow_tf32 = true;
  EXPECT_EQ(emitted::detail::choose(table_of(exact), a).variant, 3);
  const emitted::detail::Class rounded{{.tf32 = true}, 0, 0, 3, 0, 0, 0};
  EXPECT_EQ(emitted::detail::choose(table_of(rounded), a).variant, 3);
  EXPECT_EQ(emitted::detail::choose(table_of(rounded), emitted::Attention{}).of, nullptr);
}

TEST(EmittedSelection, FallsBackToTheRunningMaximum) {
  kernels::Traits traits{.softmax = Softmax::running_maximum};
  const emitted::detail::Class of{traits, 0, 0, 3, 0, 0, 0};
  const auto choice = emitted::detail::choose(table_of(of), emitted::Attention{});
  EXPECT_EQ(choice.of, &of);
  EXPECT_EQ(choice.variant, 3);
}

}  // namespace
}  // namespace fcsa::tuner
