#include "tuner/search/recorded_t4.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace fcsa::tuner {
namespace {

using nlohmann::json;

[[noreturn]] void refuse(const std::string& name, const std::string& what) {
  throw std::runtime_error(fmt::format("{}: {}", name, what));
}

// The distinct values of each parameter, in the order of their numbers.
struct Parameters {
  std::vector<std::string> names;
  std::vector<std::vector<json>> values;

  Parameters(const std::string& name, const json& results) {
    for (const auto& [parameter, value] : results.front().at("configuration").items())
      names.push_back(parameter);
    values.resize(names.size());
    for (const auto& result : results) {
      const auto& configuration = result.at("configuration");
      if (configuration.size() != names.size())
        refuse(name, "its configurations don't all have the same parameters");
      for (std::size_t i = 0; i < names.size(); ++i) values[i].push_back(configuration.at(names[i]));
    }
    for (auto& list : values) {
      std::sort(list.begin(), list.end());  // numbers by size, before texts
      list.erase(std::unique(list.begin(), list.end()), list.end());
    }
  }

  static bool integers(const std::vector<json>& list) {
    return std::all_of(list.begin(), list.end(), [](const json& value) {
      return value.is_number_integer() && std::abs(value.get<std::int64_t>()) < 1'000'000'000;
    });
  }

  std::vector<kernels::Parameter> list() const {
    std::vector<kernels::Parameter> parameters;
    for (std::size_t i = 0; i < names.size(); ++i) {
      kernels::Parameter parameter{names[i], {}, 0, "recorded"};
      const bool as_they_are = integers(values[i]);
      for (std::size_t number = 0; number < values[i].size(); ++number)
        parameter.values.push_back(as_they_are ? values[i][number].get<int>() : static_cast<int>(number));
      parameters.push_back(std::move(parameter));
    }
    return parameters;
  }

  kernels::Configuration configuration(const json& recorded, const std::string& kernel,
                                       const std::vector<kernels::Parameter>& parameters) const {
    kernels::Configuration configuration{kernel, {}};
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto at = std::lower_bound(values[i].begin(), values[i].end(), recorded.at(names[i]));
      const auto number = static_cast<std::size_t>(at - values[i].begin());
      configuration.values.emplace_back(names[i], parameters[i].values[number]);
    }
    return configuration;
  }
};

std::optional<double> time_ms_of(const json& result) {
  if (result.value("invalidity", "correct") != "correct") return std::nullopt;
  const std::string objective =
      result.contains("objectives") && !result["objectives"].empty() ? result["objectives"][0] : "time";
  for (const auto& measurement : result.at("measurements")) {
    if (measurement.at("name") != objective || !measurement.at("value").is_number()) continue;
    const double value = measurement["value"];
    if (std::isfinite(value) && value > 0) return value;
  }
  return std::nullopt;
}

double seconds_of(const json& result, std::initializer_list<const char*> parts) {
  double ms = 0;
  const auto times = result.find("times");
  if (times == result.end()) return 0;
  for (const char* part : parts) {
    if (!times->contains(part)) continue;
    const auto& value = (*times)[part];
    if (value.is_number()) ms += value.get<double>();
    for (const auto& each : value.is_array() ? value : json::array())
      if (each.is_number()) ms += each.get<double>();
  }
  return ms / 1000;
}

}  // namespace

RecordedSpace space_from_t4(const std::string& name, std::string_view text) {
  const json file = json::parse(text, nullptr, false);
  if (file.is_discarded()) refuse(name, "not JSON, or cut off");
  if (!file.is_object() || !file.contains("results") || !file["results"].is_array())
    refuse(name, "no T4 file: it has no list \"results\"");
  const auto& results = file["results"];
  if (results.empty()) refuse(name, "it has no configuration");
  try {
    const Parameters parameters(name, results);
    const auto list = parameters.list();
    std::vector<kernels::Configuration> configurations;
    configurations.reserve(results.size());
    for (const auto& result : results)
      configurations.push_back(parameters.configuration(result["configuration"], name, list));
    RecordedSpace recorded{name, Space(name, list, configurations), {}, {}, {}};
    recorded.times_ms.resize(recorded.space.size());
    recorded.compile_s.resize(recorded.space.size());
    recorded.measure_s.resize(recorded.space.size());
    for (std::size_t i = 0; i < results.size(); ++i) {
      const std::size_t position = *recorded.space.find(configurations[i]);
      recorded.times_ms[position] = time_ms_of(results[i]);
      recorded.compile_s[position] = seconds_of(results[i], {"compilation"});
      recorded.measure_s[position] = seconds_of(results[i], {"validation", "runtimes", "framework"});
    }
    return recorded;
  } catch (const json::exception& error) {
    refuse(name, fmt::format("no T4 file: {}", error.what()));
  }
}

}  // namespace fcsa::tuner
