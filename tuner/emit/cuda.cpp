#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "tuner/emit/comment.h"
#include "tuner/emit/tables.h"
#include "tuner/emit/text.h"

namespace fcsa::tuner {
namespace {

// nvcc's host stubs of a kernel template spell the types of its template arguments by their mangled names,
// which are declared only for types of kernel parameters: a kernel that takes them as parameters, never
// launched, declares them.
std::string type_declarations(const EmitPlan& plan) {
  std::string text =
      "// nvcc declares the mangled names of template argument types only if a kernel has parameters of "
      "these types.\n"
      "template <typename Config>\n__global__ void declare_types(Traits, Config) {}\n";
  for (const EmittedSource& source : sources_of(plan))
    text += fmt::format("template __global__ void declare_types<{0}>(Traits, {0});\n",
                        source.family->kernel_template(source.op).config_type);
  return text;
}

// The start of the description of a configuration. Not templates: nvcc 13.0 gets class templates wrong whose
// arguments are objects like these.
std::string struct_head(const Emission& emission, std::size_t index) {
  const EmittedVariant& v = emission.plan.variants[index];
  return fmt::format(
      "{}struct Compiled{} {{\n"
      "  static constexpr const char* text = \"{}\";\n"
      "  static constexpr Traits traits = {};\n"
      "  static constexpr auto config =\n      {};\n"
      "  static LaunchPlan plan(const BackwardArgs& args) {{ return config.plan(traits, args); }}\n",
      measured_comment(emission, v), index, configuration_text(v), traits_constant(v.traits),
      configuration_literal(v));
}

std::string source_struct(const Emission& emission, std::size_t index) {
  const EmittedVariant& variant = emission.plan.variants[index];
  const kernels::KernelTemplate code = variant.family->kernel_template(variant.problem.op);
  std::string kernels;
  for (const auto& kernel : code.kernels)
    kernels += fmt::format("{}(const void*){}<traits, config>", kernels.empty() ? "" : ", ", kernel);
  return struct_head(emission, index) +
         fmt::format(
             "  static const void* kernel(int i) {{\n"
             "    const void* const kernels[] = {{{}}};\n"
             "    return kernels[i];\n"
             "  }}\n"
             "  static inline std::atomic<std::uint64_t> resources_allowed[{}] = {{}};\n"
             "}};\n",
             kernels, code.kernels.size());
}

std::string cubin_struct(const Emission& emission, std::size_t index) {
  const CompiledVariant& compiled = emission.compiled.at(index);
  std::string kernels;
  for (const auto& symbol : compiled.symbols) kernels += fmt::format("\n      {{\"{}\"}},", symbol);
  return fmt::format(
      "extern const unsigned long long kCubin{0}[];\n{1}"
      "  static inline Cubin cubin{{kCubin{0}}};\n"
      "  static inline Kernel kernels[] = {{{2}\n  }};\n"
      "}};\n",
      index, struct_head(emission, index), kernels);
}

// The bytes as 64-bit words, as many on a line as fit.
std::string cubin_array(std::size_t index, const std::string& bytes) {
  std::string text =
      fmt::format("inline const unsigned long long kCubin{}[] = {{  // {} bytes", index, bytes.size());
  std::size_t column = kLineWidth;
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    unsigned long long word = 0;
    std::memcpy(&word, bytes.data() + at, std::min<std::size_t>(8, bytes.size() - at));
    const std::string number = word < 10 ? fmt::format("{},", word) : fmt::format("{:#x},", word);
    if (column + number.size() > kLineWidth) {
      text += "\n";
      column = 0;
    }
    text += number;
    column += number.size();
  }
  return text + "\n};\n";
}

std::string variant_line(std::size_t index, const EmittedVariant&) {
  return fmt::format("    variant<Compiled{}>(),\n", index);
}

// "-gencode arch=compute_90a,code=sm_90a" for sm_90a.
std::string gencode(const std::string& arch) {
  return fmt::format("-gencode arch=compute_{0},code=sm_{0}", arch.substr(arch.find('_') + 1));
}

std::string constants(const Emission& emission) {
  const kernels::Target& target = emission.table.device.target;
  std::string text =
      "namespace detail {\n" + serves_constant(emission.plan) +
      fmt::format("inline constexpr int kComputeCapability = {};\n", target.compute_capability);
  if (emission.compiled.empty())
    text += fmt::format("inline constexpr char kCompileOption[] = \"{}\";\n", gencode(target.arch));
  else
    text += fmt::format("inline constexpr char kCubinCompiler[] = \"{}\";\n", emission.compiler);
  return text + "}  // namespace detail\n\n";
}

std::string tables(const Emission& emission) {
  const EmitPlan& plan = emission.plan;
  const bool source = emission.compiled.empty();
  const auto compiled = [&](std::size_t index, const EmittedVariant&) {
    return source ? source_struct(emission, index) : cubin_struct(emission, index);
  };
  return fmt::format(
      "namespace detail {{\n\n{}{}\n{}\n"
      "inline constexpr Variant kVariants[] = {{\n{}}};\n\n{}\n}}  // namespace detail\n",
      source ? type_declarations(plan) + "\n" : "", traits_constants(plan.classes),
      variant_lines(plan, compiled), variant_lines(plan, variant_line), tables_text(plan));
}

void add_kernels(HeaderText& text, const Emission& emission, std::set<std::string>& included) {
  text.add(fmt::format("#define FCSA_TUNED_FOR {}\n", 10 * emission.table.device.target.compute_capability));
  for (const EmittedSource& source : sources_of(emission.plan)) {
    text.section(fmt::format("Kernels: {} ({})", source.family->name(), source.path()));
    text.add(kernels::flattened_source(source.path(), included));
  }
}

void add_configurations(HeaderText& text, const Emission& emission, std::set<std::string>& included) {
  for (const EmittedSource& source : sources_of(emission.plan)) {
    text.section(fmt::format("Configurations: {} ({})", source.family->name(), source.config_path()));
    text.add(kernels::flattened_source(source.config_path(), included));
  }
}

void add_cubins(HeaderText& text, const Emission& emission) {
  text.section("Binaries");
  const auto array = [&](std::size_t index, const EmittedVariant&) {
    return cubin_array(index, emission.compiled[index].cubin);
  };
  text.add("namespace detail {\n\n" + variant_lines(emission.plan, array) + "\n}  // namespace detail\n");
}

HeaderUse use_of(const Emission& emission) {
  const kernels::Target& target = emission.table.device.target;
  HeaderUse use{.space = fmt::format("fcsa_tuned::sm_{}", target.compute_capability),
                .compile = fmt::format("nvcc -std=c++20 -O2 {} program.cu", gencode(target.arch)),
                .pointers = "device pointers",
                .allocate = "cudaMalloc(&workspace, bytes);",
                .arguments = "a, workspace, stream",
                .remarks = R"(
                    Headers for several GPUs can be in one program, which is compiled for all of them (one
                    -gencode each); take the namespace of the current device.)"};
  if (emission.compiled.empty()) return use;
  use.compile = "g++ -std=c++20 -O2 -I /usr/local/cuda/include program.cpp -lcuda   (or any C++ compiler)";
  constexpr const char* kRemarks = R"(
      The kernels are inside as binaries that {} compiled for {}: the driver has to be as new. A CUDA context
      has to be current, as the CUDA runtime makes it. Headers for several GPUs can be in one program; take
      the namespace of the current device.)";
  use.remarks = fmt::format(kRemarks, emission.compiler, target.arch);
  return use;
}

HeaderFrame frame_of(const Emission& emission, const HeaderUse& use) {
  constexpr const char* kCudaVersion =
      "#if CUDA_VERSION < 12000\n#error \"CUDA 12 or later is needed\"\n#endif\n";
  const int capability = emission.table.device.target.compute_capability;
  const std::string guard = fmt::format("FCSA_TUNED_SM_{}", capability);
  if (emission.compiled.empty())
    return {.comment = opening_comment(emission, use),
            .guard = guard + "_CUH",
            .space = use.space,
            .checks = fmt::format(
                "#ifndef __CUDACC__\n#error \"compile this header with nvcc -std=c++20\"\n#endif\n\n"
                "#include <cuda.h>\n#include <cuda_runtime.h>\n{}",
                kCudaVersion)};
  // A namespace of its own inside, so that another file of the program may have the header with the sources.
  return {.comment = opening_comment(emission, use),
          .guard = guard + "_H",
          .space = use.space + "::inline binary",
          .checks = fmt::format(
              "#if __cplusplus < 202002L\n#error \"compile this header with -std=c++20\"\n#endif\n"
              "#ifdef {0}_CUH\n"
              "#error \"include either fcsa_tuned_sm_{1}.h or fcsa_tuned_sm_{1}.cuh in a file\"\n"
              "#endif\n\n#include <cuda.h>\n{2}",
              guard, capability, kCudaVersion)};
}

}  // namespace

std::string cuda_header_text(const Emission& emission) {
  const bool source = emission.compiled.empty();
  HeaderText text;
  std::set<std::string> included;
  text.section("Types that the kernels and this interface share");
  text.add(kernels::flattened_source("kernels/common/problem.h", included));
  text.add(kernels::flattened_source("kernels/common/sizes.h", included));
  text.section("Interface");
  text.add_fragment("attention.h");
  text.add("\n");
  text.add_fragment("cuda_interface.h");
  source ? add_kernels(text, emission, included) : add_configurations(text, emission, included);
  text.section("Choosing a kernel");
  text.add(kernels::flattened_source("kernels/common/prediction.h", included));
  text.add(constants(emission));
  text.add_fragment("arguments.h");
  text.add("\n");
  text.add_fragment("selection.h");
  text.section("Launching");
  for (const char* file :
       {"kernels/common/empty.h", "kernels/common/logits.h", "kernels/common/tensor_map.h"})
    text.add(kernels::flattened_source(file, included));
  text.add("\n");
  text.add_fragment(source ? "cuda_runtime_launch.h" : "cuda_driver_launch.h");
  text.section("Tuned shapes and their kernels");
  text.add(tables(emission));
  text.section("Implementation of the interface");
  text.add_fragment("cuda_calls.h");
  if (source) {
    text.add("\n");
    text.add_fragment("cuda_key_mask.h");
  } else {
    add_cubins(text, emission);
  }
  return text.str(frame_of(emission, use_of(emission)));
}

}  // namespace fcsa::tuner
