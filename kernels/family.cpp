#include "kernels/family.h"

#include <fmt/format.h>

#include <sstream>
#include <stdexcept>

#include "kernels/embedded.h"

namespace fcsa::kernels {
namespace {

const std::string& embedded_text(const std::string& path) {
  for (const auto& file : embedded_files())
    if (file.path == path) return file.text;
  throw std::out_of_range(fmt::format("'{}' is not among the embedded kernel sources", path));
}

std::string literal(DType dtype) {
  return fmt::format("fcsa::kernels::DType::{}", to_text(dtype));
}

std::string literal(Bias bias) {
  return fmt::format("fcsa::kernels::Bias::{}", to_text(bias));
}

std::string literal(Softmax softmax) {
  return fmt::format("fcsa::kernels::Softmax::{}", to_text(softmax));
}

std::string literal(int number) {
  return fmt::format("{}", number);
}

std::string literal(bool flag) {
  return flag ? "true" : "false";
}

// CPU kernels are called by name: one extern "C" function per instance, of the same type for all.
std::string c_wrapper(Op op, const std::string& name, const std::string& instance) {
  const char* given = op == Op::forward ? "*args" : "static_cast<const fcsa::kernels::BackwardArgs&>(*args)";
  return fmt::format(
      "extern \"C\" void {}(const fcsa::kernels::Args* args, long long task, void* scratch) {{\n"
      "  {}({}, task, scratch);\n}}\n",
      name, instance, given);
}

}  // namespace

std::string Family::unsupported(const Problem&, const Target& target) const {
  if (target.kind == device_kind()) return {};
  return name() + (device_kind() == DeviceKind::cuda ? " runs on CUDA devices" : " runs on CPUs");
}

KernelSource Family::source(const Problem& problem, const Configuration& configuration) const {
  const KernelTemplate code = kernel_template(problem.op);
  KernelSource source{device_kind(), flattened_source(code.source_path), {}};
  const std::string arguments = fmt::format("<{}, {}>", traits_literal(traits_of(problem)),
                                            config_literal(code.config_type, configuration));
  for (std::size_t i = 0; i < code.kernels.size(); ++i) {
    const std::string instance = code.kernels[i] + arguments;
    if (device_kind() == DeviceKind::cuda) {
      source.entries.push_back(instance);
    } else {
      source.entries.push_back(fmt::format("fcsa_kernel_{}", i));
      source.text += c_wrapper(problem.op, source.entries.back(), instance);
    }
  }
  return source;
}

std::string kernel_name(const Family& family, Op op) {
  return fmt::format("{}.{}", family.name(), to_text(op));
}

std::string to_text(const Family& family, Op op, const Configuration& configuration) {
  return to_text(configuration, family.parameters(op));
}

std::string misfit(const Family& family, const Problem& problem, const Configuration& configuration,
                   const Target& target) {
  if (auto reason = family.unsupported(problem, target); !reason.empty()) return reason;
  for (const auto& constraint : family.constraints(problem.op))
    if (constraint.kind == RuleKind::must && !constraint.holds(problem, configuration, target))
      return constraint.reason;
  return {};
}

std::string invalid_reason(const std::vector<Constraint>& constraints, const Problem& problem,
                           const Configuration& configuration, const Target& target) {
  for (const auto& constraint : constraints)
    if (!constraint.holds(problem, configuration, target)) return constraint.reason;
  return {};
}

std::string invalid_reason(const Family& family, const Problem& problem, const Configuration& configuration,
                           const Target& target) {
  return invalid_reason(family.constraints(problem.op), problem, configuration, target);
}

std::string_view to_text(Softmax softmax) {
  return softmax == Softmax::fixed_bound ? "fixed_bound" : "running_maximum";
}

Problem with_traits(Problem problem, const Traits& traits) {
  visit_problem(
      [&](const auto& field, auto& value) {
        if (field.trait != nullptr) value = traits.*field.trait;
      },
      problem);
  return problem;
}

std::string traits_literal(const Traits& traits) {
  std::string members;
  visit_traits(traits, [&](const char* name, const auto& value) {
    members += fmt::format("{}.{}={}", members.empty() ? "" : ",", name, literal(value));
  });
  return fmt::format("fcsa::kernels::Traits{{{}}}", members);
}

std::string config_literal(const std::string& config_type, const Configuration& configuration) {
  std::string fields;
  for (const auto& [name, value] : configuration.values)
    fields += fmt::format("{}.{}={}", fields.empty() ? "" : ",", name, value);
  return fmt::format("{}{{{}}}", config_type, fields);
}

std::string flattened_source(const std::string& path) {
  std::set<std::string> included;
  return flattened_source(path, included);
}

std::string flattened_source(const std::string& path, std::set<std::string>& included) {
  if (!included.insert(path).second) return {};
  static const std::string kInclude = "#include \"";
  std::string text;
  std::istringstream lines(embedded_text(path));
  for (std::string line; std::getline(lines, line);) {
    if (line == "#pragma once") continue;
    if (line.starts_with(kInclude)) {
      const auto end = line.find('"', kInclude.size());
      text += flattened_source(line.substr(kInclude.size(), end - kInclude.size()), included);
    } else {
      text += line + "\n";
    }
  }
  return text;
}

}  // namespace fcsa::kernels
