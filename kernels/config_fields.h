// Binds a family's parameter table to the fields of its configuration struct, so that both are written once;
// rules are written on the struct.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "kernels/configuration.h"
#include "kernels/family.h"

namespace fcsa::kernels {

// One row of a family's table: the parameter and the field of the device-side struct that it sets.
template <typename Config>
struct ConfigField {
  int Config::*field;
  std::string name;
  std::vector<int> values;
  std::string meaning;
};

template <typename Config>
std::vector<Parameter> parameters_of(const std::vector<ConfigField<Config>>& fields) {
  const Config defaults{};
  std::vector<Parameter> parameters;
  parameters.reserve(fields.size());
  for (const auto& f : fields) parameters.push_back({f.name, f.values, defaults.*f.field, f.meaning});
  return parameters;
}

template <typename Config>
Config to_struct(const std::vector<ConfigField<Config>>& fields, const Configuration& configuration) {
  Config config{};
  for (std::size_t i = 0; i < fields.size(); ++i) {
    // Configurations are in the family's order: the search below is only for those made by hand.
    const bool in_order = i < configuration.values.size() && configuration.values[i].first == fields[i].name;
    config.*fields[i].field = in_order ? configuration.values[i].second : configuration.at(fields[i].name);
  }
  return config;
}

template <typename Config>
Configuration from_struct(const std::vector<ConfigField<Config>>& fields, std::string kernel,
                          const Config& config) {
  Configuration configuration{std::move(kernel), {}};
  for (const auto& f : fields) configuration.values.emplace_back(f.name, config.*f.field);
  return configuration;
}

// A Constraint on the struct.
template <typename Config>
struct ConfigRule {
  std::string reason;
  bool (*holds)(const Problem&, const Config&, const Target&);
  std::vector<std::string> reads = {};
  RuleKind kind = RuleKind::must;
};

// `fields` outlives what is returned.
template <typename Config>
std::vector<Constraint> constraints_of(const std::vector<ConfigField<Config>>& fields,
                                       std::vector<ConfigRule<Config>> rules) {
  std::vector<Constraint> constraints;
  constraints.reserve(rules.size());
  for (auto& [reason, holds, reads, kind] : rules)
    constraints.push_back(
        {std::move(reason),
         [&fields, holds = holds](const Problem& problem, const Configuration& configuration,
                                  const Target& target) {
           return holds(problem, to_struct(fields, configuration), target);
         },
         std::move(reads), kind});
  return constraints;
}

}  // namespace fcsa::kernels
