#include "tuner/trials/store_export.h"

#include <charconv>
#include <map>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tuner/trials/store_fields.h"
#include "tuner/trials/store_json.h"

namespace fcsa::tuner {
namespace {

using Json = nlohmann::ordered_json;

Json number_or_text(std::string_view text) {
  long long number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) return number;
  return std::string(text);
}

// "name{a=1,b=2}" of a kernel that this build doesn't have: what is written, without the defaults.
Json parameters_as_written(std::string_view text) {
  Json parameters = Json::object();
  const std::size_t open = text.find('{');
  if (open == std::string_view::npos) return parameters;
  std::string_view rest = text.substr(open + 1, text.rfind('}') - open - 1);
  while (!rest.empty()) {
    const std::string_view item = rest.substr(0, rest.find(','));
    const std::size_t equals = item.find('=');
    if (equals != std::string_view::npos) {
      parameters[std::string(item.substr(0, equals))] = number_or_text(item.substr(equals + 1));
    }
    rest.remove_prefix(std::min(rest.size(), item.size() + 1));
  }
  return parameters;
}

// Every parameter with its value; those at their default are filled in when the kernel is known to this
// build.
Json parameters_of(const Trial& trial) {
  try {
    Json parameters = Json::object();
    for (const auto& [name, value] : kernels::parse_kernel(trial.configuration).configuration.values)
      parameters[name] = value;
    return parameters;
  } catch (const std::invalid_argument&) {
    return parameters_as_written(trial.configuration);
  }
}

// The format's word for a status, and the one that its files have in place of a time that wasn't measured.
struct Invalidity {
  const char* word;
  const char* in_place_of_time;
};

Invalidity invalidity_of(Status status) {
  switch (status) {
    case Status::ok:
      return {"correct", ""};
    case Status::pruned:
      return {"constraints", "InvalidConfig"};
    case Status::compile_failed:
      return {"compile", "CompilationFailedConfig"};
    case Status::wrong_result:
      return {"correctness", "RuntimeFailedConfig"};
    case Status::timed_out:
      return {"timeout", "RuntimeFailedConfig"};
    case Status::launch_failed:
    case Status::out_of_memory:
    case Status::crashed:
      return {"runtime", "RuntimeFailedConfig"};
  }
  throw std::invalid_argument(fmt::format("status {} has no name", static_cast<int>(status)));
}

Json measurements_of(const Evaluation& evaluation) {
  const auto entry = [](const char* name, const Json& value, const char* unit) {
    return Json{{"name", name}, {"value", value}, {"unit", unit}};
  };
  if (evaluation.status != Status::ok) {
    return Json::array({entry("time", invalidity_of(evaluation.status).in_place_of_time, "")});
  }
  const Measurement& measurement = evaluation.measurement;
  return Json::array({entry("time", measurement.median_ms, "ms"),
                      entry("time_low", measurement.ci_low_ms, "ms"),
                      entry("time_high", measurement.ci_high_ms, "ms"),
                      entry("peak_memory", measurement.peak_memory_bytes, "bytes"),
                      entry("extra_memory", measurement.extra_memory_bytes, "bytes"),
                      entry("registers", evaluation.resources.registers, ""),
                      entry("error", evaluation.accuracy.error, "")});
}

Json result_of(const StoredTrial& stored) {
  const Trial& trial = stored.trial;
  const Evaluation& evaluation = trial.evaluation;
  Json times{
      {"compilation", evaluation.compile_ms}, {"framework", 0}, {"search_algorithm", 0}, {"validation", 0}};
  if (evaluation.status == Status::ok) times["runtimes"] = evaluation.measurement.samples_ms;
  return Json{{"timestamp", trial.finished_at},
              {"configuration", parameters_of(trial)},
              {"times", std::move(times)},
              {"invalidity", invalidity_of(evaluation.status).word},
              {"correctness", evaluation.status == Status::ok ? 1 : 0},
              {"measurements", measurements_of(evaluation)},
              {"objectives", Json::array({"time"})},
              {"problem", kernels::to_text(trial.problem)},
              {"kernel", kernels::kernel_of(trial.configuration)},
              {"device", stored.session.device.uuid},
              {"session", stored.session.id},
              {"phase", enum_text(trial.phase)},
              {"race", trial.race_id},
              {"cache", enum_text(trial.evaluation.measurement.cache)},
              {"status", enum_text(evaluation.status)},
              {"message", evaluation.message},
              {"source_hash", trial.source_hash}};
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

// Appends a cell for each field; as a header, its name with the prefix.
struct CsvRow {
  std::string text;
  bool header = false;
  std::string prefix;

  template <typename T>
  void operator()(const char* name, const T& value) {
    add(header ? prefix + name : field_text(value));
  }
  void add(const std::string& cell) {
    if (!text.empty()) text += ',';
    text += csv_field(cell);
  }
};

std::string csv_line(const StoredTrial& stored, bool header) {
  CsvRow row{"", header, ""};
  const auto part = [&](const char* prefix) -> CsvRow& {
    row.prefix = prefix;
    return row;
  };
  row("id", static_cast<std::size_t>(stored.id));
  visit_session(stored.session, part("session_"));
  visit_device(stored.session.device, part("device_"));
  part("")("problem", kernels::to_text(stored.trial.problem));
  visit_problem_fields(stored.trial.problem, row);
  row("configuration", stored.trial.configuration);
  visit_trial(stored.trial, row);
  return row.text + "\r\n";
}

}  // namespace

std::string to_t4_json(const std::vector<StoredTrial>& trials) {
  std::map<std::string, const Session*> sessions;
  Json results = Json::array();
  for (const auto& stored : trials) {
    sessions.emplace(stored.session.id, &stored.session);
    results.push_back(result_of(stored));
  }
  Json session_entries = Json::array();
  for (const auto& [id, session] : sessions) session_entries.push_back(session_json(*session));
  // The misspelt unit is the format's: its readers compare it.
  const Json document{{"schema_version", "1.0.0"},
                      {"metadata", {{"timeunit", "miliseconds"}, {"sessions", std::move(session_entries)}}},
                      {"results", std::move(results)}};
  // Compiler messages may hold bytes that aren't UTF-8.
  return document.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

std::string to_csv(const std::vector<StoredTrial>& trials) {
  std::string text = csv_line(StoredTrial{}, true);
  for (const auto& stored : trials) text += csv_line(stored, false);
  return text;
}

}  // namespace fcsa::tuner
