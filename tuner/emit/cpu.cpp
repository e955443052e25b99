#include <fmt/format.h>

#include <set>

#include "tuner/emit/comment.h"
#include "tuner/emit/tables.h"
#include "tuner/emit/text.h"

namespace fcsa::tuner {
namespace {

using kernels::Op;
using kernels::Target;

constexpr const char* kSpace = "fcsa_tuned::cpu";
// Where kernels/cpu/forward.h puts its code when FCSA_CPU_ISA isn't defined.
constexpr const char* kOwnNamespace = "::native::";

// One pasting of the kernels.
struct InstructionSet {
  std::string name;           // of the enumerator of Isa, of the namespaces, and of Target::arch
  std::string gcc_and_clang;  // for the target pragma; empty: what the compiler assumes anyway
};

// Best first.
const std::vector<InstructionSet>& instruction_sets() {
  static const std::vector<InstructionSet> sets = {
      {"avx512", "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2"},
      {"avx2", "avx2,fma,f16c,bmi2"},
      {"generic", ""},
  };
  return sets;
}

// Other architectures than x86-64 have one instruction set for this purpose.
std::string set_of(const Target& target) {
  return target.arch == "avx512" || target.arch == "avx2" ? target.arch : "generic";
}

EmitPlan plan_for(const InstructionSet& set, const Emission& emission) {
  Target target = emission.table.device.target;
  if (set.name == set_of(target)) return emission.plan;
  target.arch = set.name;
  return plan_fallback(emission.plan, target);
}

// nvcc hands the pragmas on to its host compiler, and its device side complains that it doesn't know them.
constexpr const char* kBeginPragmas =
    "#if defined(__CUDACC__)\n#pragma nv_diagnostic push\n#pragma nv_diag_suppress 1675\n#endif\n";
constexpr const char* kEndPragmas = "#if defined(__CUDACC__)\n#pragma nv_diagnostic pop\n#endif\n";

// Whatever the program is compiled with: kernels take exponents out of sums that must not be reordered, and
// know infinity.
constexpr const char* kBeginExactMath =
    "#if defined(__clang__)\n"
    "#pragma float_control(precise, on, push)\n"
    "#else\n#pragma GCC push_options\n"
    "#pragma GCC optimize(\"no-associative-math\", \"no-unsafe-math-optimizations\", "
    "\"no-finite-math-only\", "
    "\"no-reciprocal-math\", \"signed-zeros\", \"trapping-math\")\n#endif\n";
constexpr const char* kEndExactMath =
    "#if defined(__clang__)\n#pragma float_control(pop)\n#else\n#pragma GCC pop_options\n#endif\n";

std::string begin_target(const InstructionSet& set) {
  if (set.gcc_and_clang.empty()) return {};
  return fmt::format(
      "#if defined(__clang__)\n"
      "#pragma clang attribute push(__attribute__((target(\"{0}\"))), apply_to = function)\n"
      "#else\n#pragma GCC push_options\n#pragma GCC target(\"{0}\")\n#endif\n",
      set.gcc_and_clang);
}

std::string end_target(const InstructionSet& set) {
  if (set.gcc_and_clang.empty()) return {};
  return "#if defined(__clang__)\n#pragma clang attribute pop\n#else\n#pragma GCC pop_options\n#endif\n";
}

std::string only_on_x86(const InstructionSet& set, const std::string& text) {
  return set.gcc_and_clang.empty() ? text : "#if defined(__x86_64__)\n" + text + "#endif\n";
}

std::string pasted_kernels(const InstructionSet& set, const std::string& kernels) {
  return only_on_x86(set, fmt::format("{}#define FCSA_CPU_ISA {}\n{}#undef FCSA_CPU_ISA\n{}",
                                      begin_target(set), set.name, kernels, end_target(set)));
}

std::string kernel_in(const InstructionSet& set, std::string kernel) {
  const auto at = kernel.find(kOwnNamespace);
  if (at == std::string::npos) return kernel;
  return kernel.replace(at, std::string(kOwnNamespace).size(), "::" + set.name + "::");
}

std::string compiled_struct(const Emission& emission, const InstructionSet& set, std::size_t index,
                            const EmittedVariant& v) {
  const auto taken = [&](const std::string& instance) {
    return v.problem.op == Op::forward ? instance : fmt::format("with_gradients<{}>", instance);
  };
  std::string kernels;
  for (const auto& kernel : v.family->kernel_template(v.problem.op).kernels)
    kernels += fmt::format("\n      {},", taken(kernel_in(set, kernel) + "<traits, config>"));
  return fmt::format(
      "{}struct Compiled{} {{\n"
      "  static constexpr const char* text = \"{}\";\n"
      "  static constexpr Traits traits = {};\n"
      "  static constexpr auto config =\n      {};\n"
      "  static constexpr TaskFunction kernels[] = {{{}\n  }};\n"
      "  static LaunchPlan plan(const BackwardArgs& args) {{ return config.plan(traits, args); }}\n"
      "}};\n",
      measured_comment(emission, v), index, configuration_text(v), traits_constant(v.traits),
      configuration_literal(v), kernels);
}

std::string tables_of(const Emission& emission, const InstructionSet& set) {
  const EmitPlan plan = plan_for(set, emission);
  const auto compiled = [&](std::size_t index, const EmittedVariant& v) {
    return compiled_struct(emission, set, index, v);
  };
  const auto line = [](std::size_t index, const EmittedVariant&) {
    return fmt::format("    variant<Compiled{}>(),\n", index);
  };
  return only_on_x86(
      set,
      fmt::format("namespace {0} {{\n\n{1}\ninline constexpr Variant kVariants[] = {{\n{2}}};\n\n{3}\n"
                  "}}  // namespace {0}\n",
                  set.name, variant_lines(plan, compiled), variant_lines(plan, line), tables_text(plan)));
}

std::string set_line(const InstructionSet& set) {
  return only_on_x86(set,
                     fmt::format("    {{Isa::{0}, \"{0}\", &{0}::kTable, {0}::kVariants}},\n", set.name));
}

// Of all instruction sets.
std::vector<EmittedClass> classes_of(const Emission& emission) {
  std::vector<EmittedClass> list;
  for (const auto& set : instruction_sets())
    for (const auto& c : plan_for(set, emission).classes) list.push_back(c);
  return list;
}

std::string tables(const Emission& emission) {
  std::string text = "namespace detail {\n\n" + traits_constants(classes_of(emission)) + "\n", sets;
  for (const auto& set : instruction_sets()) {
    text += tables_of(emission, set) + "\n";
    sets += set_line(set);
  }
  return text + fmt::format(
                    "// Best first.\ninline constexpr InstructionSet kInstructionSets[] = {{\n{}}};\n\n"
                    "}}  // namespace detail\n",
                    sets);
}

HeaderUse use_of(const Emission& emission) {
  return {.space = kSpace,
          .compile = "g++ -std=c++20 -O2 -pthread program.cpp   (or clang++)",
          .pointers = "aligned to 16 bytes",
          .allocate = "workspace = std::aligned_alloc(256, (bytes + 255) / 256 * 256);",
          .arguments = "a, workspace",
          .remarks = fmt::format(
              "Tuned for {}. The kernels are compiled for AVX-512, AVX2 and the compiler's default, and the "
              "best that the processor has is taken; FCSA_NUM_THREADS sets the number of threads.",
              emission.table.device.target.arch)};
}

}  // namespace

std::string cpu_header_text(const Emission& emission) {
  const EmitPlan& plan = emission.plan;
  HeaderText text;
  std::set<std::string> included;
  text.section("Types that the kernels and this interface share");
  text.add(kernels::flattened_source("kernels/common/problem.h", included));
  text.add(kernels::flattened_source("kernels/common/sizes.h", included));
  text.add(kernels::flattened_source("kernels/common/logits.h", included));
  text.section("Interface");
  text.add_fragment("attention.h");
  text.add("\n");
  text.add_fragment("cpu_interface.h");
  text.section("Threads");
  text.add(kernels::flattened_source("kernels/cpu/parallel.h", included));
  std::string kernels;
  for (const EmittedSource& source : sources_of(plan)) {
    text.section(fmt::format("Configurations ({})", source.config_path()));
    text.add(kernels::flattened_source(source.config_path(), included));
    kernels += kernels::flattened_source(source.path(), included);
  }
  text.add(kBeginPragmas);
  for (const auto& set : instruction_sets()) {
    text.section(fmt::format("Kernels: {}", set.name));
    text.add(pasted_kernels(set, kernels));
  }
  text.add(kEndPragmas);
  text.section("Choosing a kernel");
  text.add(kernels::flattened_source("kernels/common/prediction.h", included));
  text.add("namespace detail {\n" + serves_constant(plan) + "}  // namespace detail\n\n");
  text.add_fragment("arguments.h");
  text.add("\n");
  text.add_fragment("selection.h");
  text.section("Running");
  text.add_fragment("cpu_launch.h");
  text.section("Tuned shapes and their kernels");
  text.add(tables(emission));
  text.section("Implementation of the interface");
  text.add_fragment("cpu_calls.h");
  return text.str({.comment = opening_comment(emission, use_of(emission)),
                   .guard = "FCSA_TUNED_CPU_H",
                   .space = kSpace,
                   .checks = "#if __cplusplus < 202002L || !defined(__GNUC__)\n"
                             "#error \"compile this header with g++ or clang++ and -std=c++20\"\n#endif\n",
                   .begin = std::string(kBeginPragmas) + kBeginExactMath + kEndPragmas,
                   .end = std::string(kBeginPragmas) + kEndExactMath + kEndPragmas});
}

}  // namespace fcsa::tuner
