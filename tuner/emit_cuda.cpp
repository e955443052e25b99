#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "tuner/emit.h"
#include "tuner/emit_tables.h"
#include "tuner/emit_text.h"

namespace fcsa::tuner {
namespace {

using kernels::Family;
using kernels::KernelTemplate;
using kernels::Op;

std::vector<const Family*> families_of(const EmitPlan& plan) {
  std::vector<const Family*> list;
  for (const auto& variant : plan.variants)
    if (std::find(list.begin(), list.end(), variant.family) == list.end()) list.push_back(variant.family);
  return list;
}

// nvcc's host stubs of a kernel template spell the types of its template arguments by their mangled names,
// which are declared only for types of kernel parameters: a kernel that takes them as parameters, never
// launched, declares them.
std::string type_declarations(const std::vector<const Family*>& families) {
  std::string text =
      "// nvcc declares the mangled names of template argument types only if a kernel has parameters of "
      "these types.\n"
      "template <typename Config>\n__global__ void declare_types(Traits, Config) {}\n";
  for (const Family* family : families)
    text += fmt::format("template __global__ void declare_types<{0}>(Traits, {0});\n",
                        family->kernel_template(Op::forward).config_type);
  return text;
}

// Not templates: nvcc 13.0 gets class templates wrong whose arguments are objects like these.
std::string compiled_struct(std::size_t index, const EmittedVariant& v) {
  const KernelTemplate code = v.family->kernel_template(Op::forward);
  std::string kernels;
  for (const auto& kernel : code.kernels)
    kernels += fmt::format("{}(const void*){}<traits, config>", kernels.empty() ? "" : ", ", kernel);
  return fmt::format(
      "struct Compiled{} {{\n"
      "  static constexpr const char* text = \"{}\";\n"
      "  static constexpr Traits traits = {};\n"
      "  static constexpr auto config =\n      {};\n"
      "  static const void* kernel(int i) {{\n"
      "    const void* const kernels[] = {{{}}};\n"
      "    return kernels[i];\n"
      "  }}\n"
      "  static inline std::atomic<std::uint64_t> resources_allowed[{}] = {{}};\n"
      "  static LaunchPlan plan(const Args& args) {{ return config.plan(traits, args); }}\n"
      "}};\n",
      index, configuration_text(v), traits_constant(v.traits), configuration_literal(v), kernels,
      code.kernels.size());
}

std::string variant_line(std::size_t index, const EmittedVariant&) {
  return fmt::format("    variant<Compiled{}>(),\n", index);
}

// "-gencode arch=compute_90a,code=sm_90a" for sm_90a.
std::string compile_line(const std::string& arch) {
  const std::string number = arch.substr(arch.find('_') + 1);
  return fmt::format("nvcc -std=c++20 -O2 -gencode arch=compute_{0},code=sm_{0} program.cu", number);
}

std::string tables(const DispatchTable& table, const EmitPlan& plan) {
  const auto families = families_of(plan);
  return fmt::format(
      "namespace detail {{\n\ninline constexpr int kComputeCapability = {};\n\n{}\n{}\n{}\n"
      "inline constexpr Variant kVariants[] = {{\n{}}};\n\n{}\n}}  // namespace detail\n",
      table.device.target.compute_capability, type_declarations(families), traits_constants(plan),
      variant_lines(plan, compiled_struct), variant_lines(plan, variant_line), tables_text(plan));
}

HeaderUse use_of(const DispatchTable& table) {
  const std::string space = fmt::format("fcsa_tuned::sm_{}", table.device.target.compute_capability);
  return {.file = header_name(table),
          .space = space,
          .compile = compile_line(table.device.target.arch),
          .call = fmt::format(
              "    {0}::Attention a;\n"
              "    a.q = q; a.k = k; a.v = v; a.o = o;               // device pointers\n"
              "    a.dtype = {0}::DType::f32;\n"
              "    a.batch = 2; a.heads = a.kv_heads = 8; a.nq = a.nk = 1000; a.head_dim = 64;\n"
              "    a.causal = true;\n"
              "    void* workspace = nullptr;                        // may be kept and used again\n"
              "    cudaMalloc(&workspace, {0}::workspace_bytes(a));\n"
              "    const {0}::Status status = {0}::forward(a, workspace, stream);\n"
              "    if (!status.ok()) std::fprintf(stderr, \"%s\\n\", status.text);\n",
              space),
          .remarks = {}};
}

}  // namespace

std::string cuda_header_text(const DispatchTable& table) {
  const EmitPlan plan = plan_emission(table);
  const HeaderUse use = use_of(table);
  HeaderText text;
  std::set<std::string> included;
  text.section("Types that the kernels and this interface share");
  text.add(kernels::flattened_source("kernels/common/interface.h", included));
  text.section("Interface");
  text.add_fragment("attention.h");
  text.add("\n");
  text.add_fragment("cuda_interface.h");
  for (const Family* family : families_of(plan)) {
    const std::string path = family->kernel_template(Op::forward).source_path;
    text.section(fmt::format("Kernels: {} ({})", family->name(), path));
    text.add(kernels::flattened_source(path, included));
  }
  text.section("Choosing a kernel");
  text.add(kernels::flattened_source("kernels/common/prediction.h", included));
  text.add("namespace detail {\n" + serves_constant(plan) + "}  // namespace detail\n\n");
  text.add_fragment("selection.h");
  text.section("Launching");
  text.add_fragment("cuda_launch.h");
  text.section("Tuned shapes and their kernels");
  text.add(tables(table, plan));
  text.section("Implementation of the interface");
  text.add_fragment("cuda_forward.h");
  return text.str(opening_comment(table, plan, use),
                  fmt::format("FCSA_TUNED_SM_{}_CUH", table.device.target.compute_capability), use.space,
                  "#ifndef __CUDACC__\n#error \"compile this header with nvcc -std=c++20\"\n#endif\n\n"
                  "#include <cuda.h>\n#include <cuda_runtime.h>\n");
}

}  // namespace fcsa::tuner
