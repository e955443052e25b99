#include <fmt/format.h>

#include <set>

#include "tuner/emit.h"
#include "tuner/emit_tables.h"
#include "tuner/emit_text.h"

namespace fcsa::tuner {
namespace {

using kernels::KernelTemplate;
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

EmitPlan plan_for(const InstructionSet& set, const DispatchTable& table, const EmitPlan& tuned) {
  if (set.name == set_of(table.device.target)) return tuned;
  Target target = table.device.target;
  target.arch = set.name;
  return plan_fallback(tuned, target);
}

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

std::string compiled_struct(const InstructionSet& set, std::size_t index, const EmittedVariant& v) {
  const KernelTemplate code = v.family->kernel_template(Op::forward);
  std::string kernels;
  for (const auto& kernel : code.kernels)
    kernels += fmt::format("\n      {}<traits, config>,", kernel_in(set, kernel));
  return fmt::format(
      "struct Compiled{} {{\n"
      "  static constexpr const char* text = \"{}\";\n"
      "  static constexpr Traits traits = {};\n"
      "  static constexpr auto config =\n      {};\n"
      "  static constexpr TaskFunction kernels[] = {{{}\n  }};\n"
      "  static LaunchPlan plan(const Args& args) {{ return config.plan(traits, args); }}\n"
      "}};\n",
      index, configuration_text(v), traits_constant(v.traits), configuration_literal(v), kernels);
}

std::string tables_of(const InstructionSet& set, const EmitPlan& plan) {
  const auto compiled = [&](std::size_t index, const EmittedVariant& v) {
    return compiled_struct(set, index, v);
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

std::string tables(const DispatchTable& table, const EmitPlan& tuned) {
  std::string text = "namespace detail {\n\n" + traits_constants(tuned) + "\n", sets;
  for (const auto& set : instruction_sets()) {
    text += tables_of(set, plan_for(set, table, tuned)) + "\n";
    sets += set_line(set);
  }
  return text + fmt::format(
                    "// Best first.\ninline constexpr InstructionSet kInstructionSets[] = {{\n{}}};\n\n"
                    "}}  // namespace detail\n",
                    sets);
}

HeaderUse use_of(const DispatchTable& table) {
  return {.file = header_name(table),
          .space = kSpace,
          .compile = "g++ -std=c++20 -O2 -pthread program.cpp       (or clang++)",
          .call = fmt::format(
              "    {0}::Attention a;\n"
              "    a.q = q; a.k = k; a.v = v; a.o = o;\n"
              "    a.dtype = {0}::DType::f32;\n"
              "    a.batch = 2; a.heads = a.kv_heads = 8; a.nq = a.nk = 1000; a.head_dim = 64;\n"
              "    a.causal = true;\n"
              "    const std::size_t bytes = {0}::workspace_bytes(a);      // may be kept, used again\n"
              "    void* workspace = std::aligned_alloc(256, (bytes + 255) / 256 * 256);\n"
              "    const {0}::Status status = {0}::forward(a, workspace);\n"
              "    if (!status.ok()) std::fprintf(stderr, \"%s\\n\", status.text);\n",
              kSpace),
          .remarks = fmt::format(
              "Tuned for {}. The kernels are compiled for AVX-512, AVX2 and the compiler's default, "
              "and the best that the\nprocessor has is taken; FCSA_NUM_THREADS sets the number of "
              "threads.\n",
              table.device.target.arch)};
}

}  // namespace

std::string cpu_header_text(const DispatchTable& table) {
  const EmitPlan plan = plan_emission(table);
  const HeaderUse use = use_of(table);
  HeaderText text;
  std::set<std::string> included;
  text.section("Types that the kernels and this interface share");
  text.add(kernels::flattened_source("kernels/common/interface.h", included));
  text.section("Interface");
  text.add_fragment("attention.h");
  text.add("\n");
  text.add_fragment("cpu_interface.h");
  text.section("Threads");
  text.add(kernels::flattened_source("kernels/cpu/parallel.h", included));
  text.section("Configurations (kernels/cpu/config.h)");
  text.add(kernels::flattened_source("kernels/cpu/config.h", included));
  const std::string path = plan.variants.front().family->kernel_template(Op::forward).source_path;
  const std::string kernels = kernels::flattened_source(path, included);
  for (const auto& set : instruction_sets()) {
    text.section(fmt::format("Kernels: {} ({})", set.name, path));
    text.add(pasted_kernels(set, kernels));
  }
  text.section("Choosing a kernel");
  text.add(kernels::flattened_source("kernels/common/prediction.h", included));
  text.add("namespace detail {\n" + serves_constant(plan) + "}  // namespace detail\n\n");
  text.add_fragment("selection.h");
  text.section("Running");
  text.add_fragment("cpu_launch.h");
  text.section("Tuned shapes and their kernels");
  text.add(tables(table, plan));
  text.section("Implementation of the interface");
  text.add_fragment("cpu_forward.h");
  return text.str(opening_comment(table, plan, use), "FCSA_TUNED_CPU_H", use.space,
                  "#if __cplusplus < 202002L || !defined(__GNUC__)\n"
                  "#error \"compile this header with g++ or clang++ and -std=c++20\"\n#endif\n");
}

}  // namespace fcsa::tuner
