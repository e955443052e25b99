#include "tuner/emit/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <set>

namespace fcsa::tuner {
namespace {

using kernels::DType;
using kernels::Op;
using kernels::Softmax;
using kernels::Traits;

std::string shape_line(const EmittedShape& s) {
  const kernels::Problem& p = s.problem;
  return fmt::format("    {{{}, {}, {}, {}, {}, Layout::{}, {}, {:.6g}}},\n", p.nq, p.nk, p.batch, p.heads,
                     p.kv_heads, kernels::to_text(p.layout), s.variant, s.time_ms);
}

std::string position_line(const kernels::Position& p) {
  return fmt::format("    {{{:.17g}, {:.17g}, {:.17g}}},\n", p.nq, p.nk, p.fill);
}

std::string model_line(const kernels::Model& m) {
  return fmt::format("    {{{{{}, {}, {}, {}, {}, {}}}, {:.17g}, {:.17g}}},\n", m.tile.rows, m.tile.keys,
                     m.tile.packs_heads, m.tile.pairs, m.tile.blocks, m.tile.split_until, m.ms_per_row,
                     m.ms_per_product);
}

std::string correction_line(const std::vector<float>& corrections) {
  std::string text;
  for (const float correction : corrections)
    text += correction >= kernels::kNotMeasured ? std::string("fcsa::kernels::kNotMeasured, ")
                                                : fmt::format("{:.9e}f, ", correction);
  return text.empty() ? text : "    " + text + "\n";
}

// An array, or nothing where it would be empty; what points to it is "nullptr" then.
struct EmittedArray {
  std::string name, definition;

  EmittedArray(const char* comment, const char* type, std::string array_name, const std::string& elements)
      : name(elements.empty() ? "nullptr" : std::move(array_name)) {
    if (!elements.empty())
      definition =
          fmt::format("// {}\ninline constexpr {} {}[] = {{\n{}}};\n\n", comment, type, name, elements);
  }
};

// Where the parts of a class begin.
struct Offsets {
  std::size_t shape = 0, candidate = 0, correction = 0;
};

// What follows the numbers of a class of backward problems.
std::string backward_fields(const EmittedClass& c) {
  if (c.op == Op::forward) return {};
  return fmt::format(", Op::backward, {{{}, {}, {}}}", c.demands.bias_gradient, c.demands.scale_gradient,
                     c.demands.deterministic);
}

std::string class_lines(const EmitPlan& plan) {
  std::string text;
  Offsets first;
  for (std::size_t i = 0; i < plan.classes.size(); ++i) {
    if (i == plan.tuned_classes) text += "#ifndef FCSA_TUNED_ONLY\n";
    const EmittedClass& c = plan.classes[i];
    text += fmt::format("    {{{}, {}, {}, {}, {}, {}, {}{}}},\n", traits_constant(c.traits), first.shape,
                        c.shapes.size(), c.default_variant, first.candidate, c.candidates.size(),
                        first.correction, backward_fields(c));
    first.shape += c.shapes.size();
    first.candidate += c.candidates.size();
    first.correction += c.shapes.size() * c.candidates.size();
  }
  return plan.tuned_classes < plan.classes.size() ? text + "#endif\n" : text;
}

std::string served_text(const EmitPlan& plan, Op op) {
  if (!has_op(plan, op)) return fmt::format("no {} pass", kernels::to_text(op));
  std::map<DType, std::set<int>> served;
  std::set<std::string> further;
  for (const auto& c : plan.classes) {
    if (c.op != op) continue;
    const Traits& t = c.traits;
    served[t.dtype].insert(t.head_dim);
    if (t.bias == kernels::Bias::f32 || (t.bias == kernels::Bias::same && t.dtype == DType::f32))
      further.insert("bias in f32");
    else if (t.bias == kernels::Bias::same)
      further.insert(fmt::format("bias in {}", kernels::to_text(t.dtype)));
    if (t.head_scale) further.insert("head_scale");
  }
  std::string text;
  for (const auto& [dtype, head_dims] : served)
    text += fmt::format("{}{} head_dim {}", text.empty() ? "" : "; ", kernels::to_text(dtype),
                        fmt::join(head_dims, ", "));
  if (!further.empty()) text += fmt::format("; where tuned {}", fmt::join(further, ", "));
  return text;
}

int served_bits(const EmittedVariant& variant) {
  int bits = 0;
  for (std::size_t i = 0; i < variant.serves.size(); ++i) bits |= variant.serves[i] ? 1 << i : 0;
  return bits;
}

// "head_scale" becomes "HeadScale", "bias=f32" "BiasF32".
std::string camel_case(std::string_view text) {
  std::string name;
  bool starts = true;
  for (const char c : text) {
    const bool separates = c == '_' || c == '=' || c == ' ';
    if (!separates) name += starts ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    starts = separates;
  }
  return name;
}

}  // namespace

std::string traits_constant(const Traits& traits) {
  // "forward f32 d64 causal scale=8" without what is no trait.
  std::string text = kernels::class_text(kernels::with_traits({}, traits));
  text = text.substr(text.find(' '), text.rfind(' ') - text.find(' '));
  return "k" + camel_case(text) + (traits.softmax == Softmax::fixed_bound ? "" : "RunningMaximum");
}

std::string traits_constants(const std::vector<EmittedClass>& classes) {
  std::string text;
  std::set<std::string> defined;  // classes may share them
  for (const auto& c : classes)
    if (defined.insert(traits_constant(c.traits)).second)
      text += fmt::format("inline constexpr Traits {} =\n    {};\n", traits_constant(c.traits),
                          kernels::traits_literal(c.traits));
  return text;
}

std::string serves_constant(const EmitPlan& plan) {
  return fmt::format("inline constexpr const char* kServes[] = {{\"{}\", \"{}\"}};  // by Op\n",
                     served_text(plan, Op::forward), served_text(plan, Op::backward));
}

std::string tables_text(const EmitPlan& plan) {
  std::string shape_lines, position_lines, model_lines, variants, correction_lines;
  for (const auto& c : plan.classes) {
    for (const auto& shape : c.shapes) {
      shape_lines += shape_line(shape);
      position_lines += position_line(shape.position);
      correction_lines += correction_line(shape.corrections);
    }
    for (const auto& candidate : c.candidates) {
      model_lines += model_line(candidate.model);
      variants += fmt::format("    {},\n", candidate.variant);
    }
  }
  const EmittedArray arrays[] = {
      {"nq, nk, batch, heads, kv_heads, layout; kernel, ms", "Shape", "kShapes", shape_lines},
      {"of the shapes: log2 of nq, nk, tiles of 64 queries for each multiprocessor", "Position", "kPositions",
       position_lines},
      {"of the candidates of each class: tile; ms for a row, for a row and key", "Model", "kModels",
       model_lines},
      {"of the candidates: kernel", "int", "kCandidates", variants},
      {"of each shape and candidate: log of measured over modelled time", "float", "kCorrections",
       correction_lines}};
  std::string text, names, served;
  for (const auto& variant : plan.variants) served += fmt::format("    {},\n", served_bits(variant));
  for (const auto& array : arrays) {
    text += array.definition;
    names += ", " + array.name;
  }
  return text +
         fmt::format(
             "// traits, first shape, shapes, kernel when there are none; first candidate, candidates; "
             "first correction\n"
             "inline constexpr Class kClasses[] = {{\n{}}};\n\n"
             "// of the kernels: the demands that each serves, a bit for each Demands::index()\n"
             "inline constexpr unsigned char kServed[] = {{\n{}}};\n\n"
             "inline constexpr Table kTable = {{kClasses, sizeof(kClasses) / sizeof(Class){}, kServed, "
             "{}}};\n",
             class_lines(plan), served, names, plan.multiprocessors);
}

std::string EmittedSource::path() const {
  return family->kernel_template(op).source_path;
}

std::string EmittedSource::config_path() const {
  const std::filesystem::path folder = std::filesystem::path(path()).parent_path();
  return folder / (op == Op::forward ? "config.h" : "backward_config.h");
}

std::vector<EmittedSource> sources_of(const EmitPlan& plan) {
  std::vector<EmittedSource> list;
  for (const auto& variant : plan.variants) {
    const EmittedSource source{variant.family, variant.problem.op};
    if (std::find(list.begin(), list.end(), source) == list.end()) list.push_back(source);
  }
  return list;
}

std::string measured_comment(const Emission& emission, const EmittedVariant& variant) {
  const std::string hash = source_hash_of(emission, variant);
  return hash.empty() ? "" : fmt::format("// measured with the source {}\n", hash);
}

std::string configuration_text(const EmittedVariant& variant) {
  return kernels::to_text(*variant.family, variant.problem.op, variant.configuration);
}

std::string configuration_literal(const EmittedVariant& variant) {
  return kernels::config_literal(variant.family->kernel_template(variant.problem.op).config_type,
                                 variant.configuration);
}

}  // namespace fcsa::tuner
