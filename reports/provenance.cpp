#include "reports/provenance.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

namespace fcsa::reports {
namespace {

using tuner::StoredTrial;

constexpr std::size_t kMostReasons = 40;
constexpr std::size_t kLongestReason = 240;

// Distinct values in the order they appeared.
class Distinct {
 public:
  void add(const std::string& value) {
    if (!value.empty() && seen_.insert(value).second) values_.push_back(value);
  }
  std::string joined() const {
    return values_.empty() ? "unknown" : fmt::format("{}", fmt::join(values_, ", "));
  }

 private:
  std::set<std::string> seen_;
  std::vector<std::string> values_;
};

// Smallest and largest of the values that the device told (zero: it didn't).
struct Span {
  double low = 0, high = 0;
  void add(double value) {
    if (value <= 0) return;
    low = low == 0 ? value : std::min(low, value);
    high = std::max(high, value);
  }
  std::string text(const char* unit) const {
    if (high == 0) return {};
    if (low == high) return fmt::format("{:.0f} {}", low, unit);
    return fmt::format("{:.0f} to {:.0f} {}", low, high, unit);
  }
};

// The measurements that the report shows.
std::vector<const StoredTrial*> shown_trials(const DeviceResults& results) {
  std::vector<const StoredTrial*> shown;
  for (const Point& point : results.points) {
    for (const Role role : kRoles) {
      if (point.of(role).measured()) shown.push_back(point.of(role).trial);
    }
  }
  return shown;
}

std::string device_text(const kernels::DeviceInfo& device) {
  const kernels::Target& target = device.target;
  const bool cuda = target.kind == kernels::DeviceKind::cuda;
  std::string text = fmt::format("{}, {} {}", target.arch, target.multiprocessors, cuda ? "SMs" : "cores");
  if (target.memory_bytes > 0)
    text += fmt::format(", {} memory", bytes_text(static_cast<double>(target.memory_bytes)));
  if (target.l2_bytes > 0) text += fmt::format(", {} L2", bytes_text(static_cast<double>(target.l2_bytes)));
  return text;
}

std::string clocks_text(const std::vector<const StoredTrial*>& shown) {
  Span sm, memory, temperature, power;
  for (const StoredTrial* trial : shown) {
    const tuner::Clocks& clocks = trial->trial.evaluation.measurement.clocks;
    sm.add(clocks.sm_mhz);
    memory.add(clocks.memory_mhz);
    temperature.add(clocks.temperature_c);
    power.add(clocks.power_w);
  }
  std::string text;
  const auto append = [&](const char* name, const std::string& value) {
    if (!value.empty()) text += fmt::format("{}{} {}", text.empty() ? "" : "; ", name, value);
  };
  append("processor", sm.text("MHz"));
  append("memory", memory.text("MHz"));
  append("temperature", temperature.text("°C"));
  append("power", power.text("W"));
  return text.empty() ? "not told by this device" : text;
}

std::string throttle_text(const std::vector<const StoredTrial*>& shown) {
  std::map<std::string, std::size_t> reasons;
  for (const StoredTrial* trial : shown) {
    const std::string& reason = trial->trial.evaluation.measurement.clocks.throttle_reasons;
    if (!reason.empty()) ++reasons[reason];
  }
  if (reasons.empty()) return "none recorded";
  std::string text;
  for (const auto& [reason, count] : reasons) {
    text += fmt::format("{}{} ({} of {} measurements shown)", text.empty() ? "" : "; ", reason, count,
                        shown.size());
  }
  return text;
}

std::string statuses_text(const DeviceResults& results) {
  std::map<tuner::Status, std::size_t> counts;
  for (const StoredTrial* trial : results.trials) ++counts[trial->trial.evaluation.status];
  std::string text;
  for (const auto& [status, count] : counts) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, tuner::to_text(status));
  }
  return fmt::format("{}: {}", count_text(results.trials.size(), "trial", "trials"), text);
}

std::string samples_text(const std::vector<const StoredTrial*>& shown) {
  Span samples;
  std::vector<double> widths;
  for (const StoredTrial* trial : shown) {
    const tuner::Measurement& m = trial->trial.evaluation.measurement;
    samples.add(static_cast<double>(m.samples_ms.size()));
    if (m.median_ms > 0) widths.push_back((m.ci_high_ms - m.ci_low_ms) / m.median_ms);
  }
  if (widths.empty()) return "none";
  std::sort(widths.begin(), widths.end());
  return fmt::format("{} for each measurement shown; 95% intervals {}% wide (median), {}% at most",
                     samples.text("samples"), significant(100 * widths[widths.size() / 2], 2),
                     significant(100 * widths.back(), 2));
}

std::string accuracy_text(const std::vector<const StoredTrial*>& shown) {
  double worst = 0;
  for (const StoredTrial* trial : shown) {
    const tuner::Accuracy& accuracy = trial->trial.evaluation.accuracy;
    if (accuracy.tolerance > 0) worst = std::max(worst, accuracy.error / accuracy.tolerance);
  }
  if (worst == 0) return "not recorded";
  return fmt::format("worst row error of what is shown is {} of the tolerance", significant(worst, 2));
}

std::string meaning_of(tuner::Status status) {
  switch (status) {
    case tuner::Status::pruned:
      return "not run: it breaks a limit, or the compiler's log disqualifies it (registers spilled)";
    case tuner::Status::compile_failed:
      return "the compiler refused it";
    case tuner::Status::launch_failed:
      return "the device refused or aborted the launch";
    case tuner::Status::out_of_memory:
      return "it needs more memory than there is";
    case tuner::Status::wrong_result:
      return "ran, and did not agree with the fp64 reference";
    case tuner::Status::timed_out:
      return "did not end within its deadline and was stopped";
    case tuner::Status::crashed:
      return "ended the process that ran or compiled it";
    case tuner::Status::ok:
      break;
  }
  return "";
}

std::string reason_text(const std::string& message) {
  std::string line = message.substr(0, message.find('\n'));
  if (line.empty()) return "no message";
  if (line.size() <= kLongestReason) return line;
  std::size_t end = kLongestReason;
  while (end > 0 && (static_cast<unsigned char>(line[end]) & 0xC0U) == 0x80U) --end;
  return line.substr(0, end) + "...";
}

}  // namespace

Provenance provenance_of(const DeviceResults& results) {
  Distinct drivers, compilers, hosts, versions, seeds, caches;
  std::map<std::string, const tuner::Session*> sessions;
  std::string first, last;
  for (const StoredTrial* trial : results.trials) {
    const tuner::Session& session = trial->session;
    sessions.emplace(session.started_at + session.id, &session);
    drivers.add(session.device.driver);
    compilers.add(session.device.compiler);
    hosts.add(session.host);
    versions.add(session.fcsa_version);
    seeds.add(fmt::format("{}", session.seed));
    if (trial->trial.evaluation.status == tuner::Status::ok) {
      caches.add(std::string(tuner::to_text(trial->trial.evaluation.measurement.cache)));
    }
    const std::string& at = trial->trial.finished_at;
    if (first.empty() || at < first) first = at;
    if (at > last) last = at;
  }
  const auto shown = shown_trials(results);
  const bool cuda = results.device.target.kind == kernels::DeviceKind::cuda;
  Provenance provenance;
  provenance.facts = {{"Device", results.device.name},
                      {"Hardware", device_text(results.device)},
                      {"Identity", results.device.uuid.empty() ? "unknown" : results.device.uuid},
                      {cuda ? "Driver" : "Kernel", drivers.joined()},
                      {"Compiler", compilers.joined()},
                      {"Host", hosts.joined()},
                      {"Measured", first == last ? first : fmt::format("{} to {}", first, last)},
                      {"fcsa", versions.joined()},
                      {"Seeds", seeds.joined()},
                      {"Cache", caches.joined()},
                      {"Samples", samples_text(shown)},
                      {"Clocks", clocks_text(shown)},
                      {"Throttling", throttle_text(shown)},
                      {"Verification", accuracy_text(shown)},
                      {"Trials", statuses_text(results)}};
  for (const auto& [key, session] : sessions) {
    provenance.commands.push_back(
        fmt::format("{} {}: {}", session->started_at, session->host, session->command));
  }
  return provenance;
}

Table failure_kinds_table(const DeviceResults& results) {
  std::map<tuner::Status, std::size_t> counts;
  for (const StoredTrial* trial : results.trials) ++counts[trial->trial.evaluation.status];
  counts.erase(tuner::Status::ok);
  std::vector<std::pair<tuner::Status, std::size_t>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  Table table{{"kind", "trials", "share of all trials", "meaning"}, {}};
  for (const auto& [status, count] : sorted) {
    const double share = static_cast<double>(count) / static_cast<double>(results.trials.size());
    table.rows.push_back({std::string(tuner::to_text(status)), fmt::format("{}", count),
                          fmt::format("{:.1f}%", 100 * share), meaning_of(status)});
  }
  return table;
}

Table failures_table(const DeviceResults& results) {
  struct Group {
    std::size_t count = 0;
    const StoredTrial* example = nullptr;
  };
  std::map<std::pair<tuner::Status, std::string>, Group> groups;
  for (const StoredTrial* trial : results.trials) {
    const tuner::Evaluation& evaluation = trial->trial.evaluation;
    if (evaluation.status == tuner::Status::ok) continue;
    Group& group = groups[{evaluation.status, reason_text(evaluation.message)}];
    ++group.count;
    group.example = trial;
  }
  using Item = std::pair<std::pair<tuner::Status, std::string>, Group>;
  std::vector<Item> sorted(groups.begin(), groups.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Item& a, const Item& b) { return a.second.count > b.second.count; });
  Table table{{"kind", "reason", "trials", "latest example"}, {}};
  std::size_t left_out = 0;
  for (const auto& [key, group] : sorted) {
    if (table.rows.size() >= kMostReasons) {
      left_out += group.count;
      continue;
    }
    const tuner::Trial& trial = group.example->trial;
    table.rows.push_back({std::string(tuner::to_text(key.first)), key.second, fmt::format("{}", group.count),
                          fmt::format("{} on {}", trial.configuration, kernels::to_text(trial.problem))});
  }
  if (left_out > 0) table.rows.push_back({"others", "rarer reasons", fmt::format("{}", left_out), ""});
  return table;
}

}  // namespace fcsa::reports
