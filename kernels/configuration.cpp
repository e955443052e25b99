#include "kernels/configuration.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <stdexcept>

namespace fcsa::kernels {
namespace {

[[noreturn]] void refuse(std::string_view text, const std::string& why) {
  throw std::invalid_argument(fmt::format("configuration '{}': {}", text, why));
}

std::pair<std::string, int> read_assignment(std::string_view text, std::string_view assignment) {
  const auto equals = assignment.find('=');
  if (equals == std::string_view::npos) refuse(text, fmt::format("'{}' is not parameter=value", assignment));
  const std::string_view digits = assignment.substr(equals + 1);
  int value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size())
    refuse(text, fmt::format("'{}' is not an integer", digits));
  return {std::string(assignment.substr(0, equals)), value};
}

}  // namespace

int Configuration::at(std::string_view parameter) const {
  for (const auto& [name, value] : values)
    if (name == parameter) return value;
  throw std::out_of_range(fmt::format("{} has no parameter '{}'", kernel, parameter));
}

bool listed(const Configuration& configuration, const std::vector<Parameter>& parameters) {
  return std::equal(configuration.values.begin(), configuration.values.end(), parameters.begin(),
                    parameters.end(), [](const auto& named, const Parameter& parameter) {
                      const auto& values = parameter.values;
                      return named.first == parameter.name &&
                             std::find(values.begin(), values.end(), named.second) != values.end();
                    });
}

std::string kernel_of(std::string_view configuration) {
  return std::string(configuration.substr(0, configuration.find('{')));
}

std::string to_text(const Configuration& configuration, const std::vector<Parameter>& parameters) {
  std::string text = configuration.kernel + "{";
  bool first = true;
  for (const auto& parameter : parameters) {
    const int value = configuration.at(parameter.name);
    if (value == parameter.default_value) continue;
    text += fmt::format("{}{}={}", first ? "" : ",", parameter.name, value);
    first = false;
  }
  return text + "}";
}

Configuration configuration_from_text(std::string_view text, std::string_view kernel,
                                      const std::vector<Parameter>& parameters) {
  const auto brace = text.find('{');
  if (text.substr(0, brace) != kernel || (brace != std::string_view::npos && text.back() != '}'))
    refuse(text, fmt::format("expected {}{{parameter=value,...}}", kernel));
  Configuration configuration{std::string(kernel), {}};
  for (const auto& parameter : parameters)
    configuration.values.emplace_back(parameter.name, parameter.default_value);
  if (brace == std::string_view::npos) return configuration;

  std::string_view rest = text.substr(brace + 1, text.size() - brace - 2);
  std::set<std::string> seen;
  while (!rest.empty()) {
    const auto comma = std::min(rest.find(','), rest.size());
    const auto [name, value] = read_assignment(text, rest.substr(0, comma));
    if (!seen.insert(name).second) refuse(text, fmt::format("'{}' is set twice", name));
    bool known = false;
    for (auto& [parameter, current] : configuration.values)
      if (parameter == name) known = true, current = value;
    if (!known) refuse(text, fmt::format("{} has no parameter '{}'", kernel, name));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return configuration;
}

}  // namespace fcsa::kernels
