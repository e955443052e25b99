#include "reports/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "reports/figures.h"
#include "reports/provenance.h"

namespace fcsa::reports {
namespace {

using tuner::Measurement;

std::string ratio_text(const Point& point, Role over) {
  const auto ratio = speedup(point, Role::tuned, over);
  if (ratio) return significant(ratio->value) + "x";
  return point.of(over).out_of_memory() ? "out of memory" : "";
}

std::string remarks(const Point& point) {
  const Entry& tuned = point.of(Role::tuned);
  if (!tuned.measured()) {
    return tuned.trial == nullptr ? "not tuned"
                                  : fmt::format("nothing worked: {}", tuned.trial->trial.evaluation.message);
  }
  if (!tuned.confirmed) return "unconfirmed";
  std::string text = point.of(Role::baseline).trial == tuned.trial ? "the baseline is the best found" : "";
  if (!point.ties.empty()) {
    text += fmt::format("{}tie with {}", text.empty() ? "" : "; ", fmt::join(point.ties, ", "));
  }
  return text;
}

// Geometric mean and range of the confirmed speed-ups.
std::string mean_text(const std::vector<const Point*>& points, Role over) {
  double sum = 0, low = 0, high = 0;
  std::size_t count = 0;
  for (const Point* point : points) {
    const auto ratio = speedup(*point, Role::tuned, over);
    if (!ratio) continue;
    low = count == 0 ? ratio->value : std::min(low, ratio->value);
    high = std::max(high, ratio->value);
    sum += std::log(ratio->value);
    ++count;
  }
  if (count == 0) return "";
  const std::string mean = significant(std::exp(sum / static_cast<double>(count))) + "x";
  return count == 1 ? mean : fmt::format("{} ({} to {})", mean, significant(low), significant(high));
}

// One line for each operation that was tuned on the device: over all of its problems.
std::string grid_means(const DeviceResults& results) {
  std::string text;
  for (const kernels::Op op : {kernels::Op::forward, kernels::Op::backward}) {
    std::vector<const Point*> points;
    for (const Point& point : results.points)
      if (point.problem.op == op && point.confirmed()) points.push_back(&point);
    const std::string over_baseline = mean_text(points, Role::baseline);
    if (over_baseline.empty()) continue;
    const std::string over_unfused = mean_text(points, Role::unfused);
    text +=
        fmt::format("- {}, {}, {}: tuned over the family's baseline {}{}\n", markdown_escape(results.label),
                    kernels::to_text(op), count_text(points.size(), "problem", "problems"), over_baseline,
                    over_unfused.empty() ? "" : ", over unfused " + over_unfused);
  }
  return text;
}

OverviewRow overview_row(const Section& section, const std::vector<const Point*>& points,
                         const SpeedUnit& unit) {
  OverviewRow row;
  row.problems = points.size();
  row.lengths = length_text(points.front()->problem.nk);
  if (points.size() > 1) row.lengths += " to " + length_text(points.back()->problem.nk);
  double best = 0;
  for (const Point* point : points) {
    row.confirmed += point->confirmed() ? 1 : 0;
    const Entry& tuned = point->of(Role::tuned);
    if (!tuned.measured()) continue;
    ++row.solved;
    const double speed = flops_per_second(*point, measurement_of(tuned));
    if (speed <= best) continue;
    best = speed;
    row.best_speed = fmt::format("{} {} at {}", significant(speed / unit.flops), unit.name,
                                 length_text(point->problem.nk));
  }
  row.over_baseline = mean_text(points, Role::baseline);
  row.over_unfused = section.has_yardstick() ? mean_text(points, Role::unfused) : "there is none";
  return row;
}

std::string yes_no(bool value) {
  return value ? "yes" : "no";
}

std::vector<std::string> problem_header() {
  return {"device", "device_uuid", "arch",          "driver", "compiler", "op",
          "dtype",  "head_dim",    "batch",         "heads",  "kv_heads", "nq",
          "nk",     "causal",      "mask",          "layout", "scale",    "problem",
          "cache",  "role",        "configuration", "status"};
}

std::vector<std::string> problem_fields(const DeviceResults& results, const Point& point, Role role) {
  const kernels::Problem& p = point.problem;
  const Entry& entry = point.of(role);
  const kernels::DeviceInfo& device = entry.trial != nullptr ? entry.trial->session.device : results.device;
  return {device.name,
          device.uuid,
          device.target.arch,
          device.driver,
          device.compiler,
          std::string(kernels::to_text(p.op)),
          std::string(kernels::to_text(p.dtype)),
          fmt::format("{}", p.head_dim),
          fmt::format("{}", p.batch),
          fmt::format("{}", p.heads),
          fmt::format("{}", p.kv_heads),
          fmt::format("{}", p.nq),
          fmt::format("{}", p.nk),
          yes_no(p.causal),
          yes_no(p.key_mask),
          std::string(kernels::to_text(p.layout)),
          fmt::format("{}", p.scale),
          kernels::to_text(p),
          std::string(tuner::to_text(point.cache)),
          std::string(to_text(role)),
          entry.configuration,
          entry.status_text()};
}

std::string ratio_field(const Point& point, Role of, Role over) {
  const auto ratio = speedup(point, of, over);
  return ratio ? fmt::format("{}", ratio->value) : "";
}

std::vector<std::string> speed_fields(const Point& point, Role role) {
  const Entry& entry = point.of(role);
  if (!entry.measured()) return {"", "", "", "", "", "", yes_no(entry.confirmed), ""};
  const Measurement& m = measurement_of(entry);
  return {fmt::format("{}", m.median_ms),
          fmt::format("{}", m.ci_low_ms),
          fmt::format("{}", m.ci_high_ms),
          m.median_ms > 0 ? fmt::format("{:.6g}", flops_per_second(point, m) / 1e12) : "",
          ratio_field(point, role, Role::baseline),
          ratio_field(point, role, Role::unfused),
          yes_no(entry.confirmed),
          fmt::format("{}", m.samples_ms.size())};
}

std::vector<std::string> memory_fields(const Point& point, Role role) {
  const Measurement* memory = point.of(role).memory;
  if (memory == nullptr) return {"", ""};
  return {fmt::format("{}", memory->peak_memory_bytes), fmt::format("{}", memory->extra_memory_bytes)};
}

template <typename Fields>
std::string csv(const std::vector<DeviceResults>& devices, const std::vector<std::string>& columns,
                Fields fields) {
  std::vector<std::string> header = problem_header();
  header.insert(header.end(), columns.begin(), columns.end());
  std::string text = csv_line(header);
  for (const DeviceResults& results : devices) {
    for (const Point& point : results.points) {
      for (const Role role : kRoles) {
        std::vector<std::string> line = problem_fields(results, point, role);
        const std::vector<std::string> values = fields(point, role);
        line.insert(line.end(), values.begin(), values.end());
        text += csv_line(line);
      }
    }
  }
  return text;
}

Table overview_markdown(const std::vector<Section>& sections, const std::vector<DeviceResults>& devices) {
  Table table{{"problems", "device", "N", "best", "over baseline", "over unfused", "confirmed"}, {}};
  for (const OverviewRow& row : overview(sections, devices)) {
    table.rows.push_back({sections[row.section].title, devices[row.device].label, row.lengths, row.best_speed,
                          row.over_baseline, row.over_unfused,
                          fmt::format("{} of {}", row.confirmed, row.problems)});
  }
  return table;
}

}  // namespace

Table winners_table(const Section& section, const std::vector<DeviceResults>& devices, std::size_t device) {
  const SpeedUnit unit = speed_unit(section, devices, devices[device].device.target.kind);
  Table table{{"N", "configuration", "median, ms", "95% interval, ms", unit.name, "over baseline"}, {}};
  if (section.has_yardstick()) table.header.emplace_back("over unfused");
  table.header.insert(table.header.end(), {"peak memory", "remarks"});
  for (const Point* point : section.by_device[device]) {
    const Entry& tuned = point->of(Role::tuned);
    std::vector<std::string> row{fmt::format("{}", point->problem.nk),
                                 tuned.measured() ? tuned.configuration : "nothing worked"};
    if (tuned.measured()) {
      const Measurement& m = measurement_of(tuned);
      row.insert(row.end(),
                 {significant(m.median_ms, 4),
                  fmt::format("{} to {}", significant(m.ci_low_ms, 4), significant(m.ci_high_ms, 4)),
                  m.median_ms > 0 ? significant(flops_per_second(*point, m) / unit.flops, 4) : ""});
    } else {
      row.insert(row.end(), {"", "", ""});
    }
    row.push_back(ratio_text(*point, Role::baseline));
    if (section.has_yardstick()) row.push_back(ratio_text(*point, Role::unfused));
    row.push_back(tuned.memory != nullptr ? bytes_text(static_cast<double>(tuned.memory->peak_memory_bytes))
                                          : "");
    row.push_back(remarks(*point));
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table devices_table(const Section& section, const std::vector<DeviceResults>& devices) {
  using Points = std::map<std::size_t, const Point*>;  // by device
  std::map<int, Points> by_length;
  std::set<std::size_t> tuned;
  for (std::size_t d = 0; d < devices.size(); ++d) {
    for (const Point* point : section.by_device[d]) {
      if (!point->of(Role::tuned).measured()) continue;
      by_length[point->problem.nk][d] = point;
      tuned.insert(d);
    }
  }
  std::erase_if(by_length, [](const auto& entry) { return entry.second.size() < 2; });
  Table table{{"N"}, {}};
  for (const std::size_t d : tuned) {
    table.header.push_back(devices[d].label + ", ms");
    if (d != *tuned.begin()) table.header.emplace_back("times as fast");
  }
  for (const auto& [length, points] : by_length) {
    auto& row = table.rows.emplace_back();
    row.push_back(fmt::format("{}", length));
    const auto time_ms = [&, &points = points](std::size_t d) {
      const auto found = points.find(d);
      return found == points.end() ? 0.0 : measurement_of(found->second->of(Role::tuned)).median_ms;
    };
    for (const std::size_t d : tuned) {
      const double own = time_ms(d), first = time_ms(*tuned.begin());
      row.push_back(own > 0 ? significant(own, 4) : "");
      if (d != *tuned.begin()) row.push_back(own > 0 && first > 0 ? significant(first / own) + "x" : "");
    }
  }
  return table;
}

std::vector<OverviewRow> overview(const std::vector<Section>& sections,
                                  const std::vector<DeviceResults>& devices) {
  std::vector<OverviewRow> rows;
  for (std::size_t s = 0; s < sections.size(); ++s) {
    for (std::size_t d = 0; d < devices.size(); ++d) {
      const auto& points = sections[s].by_device[d];
      if (points.empty()) continue;
      OverviewRow row =
          overview_row(sections[s], points, speed_unit(sections[s], devices, devices[d].device.target.kind));
      row.section = s;
      row.device = d;
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

std::string speed_csv(const std::vector<DeviceResults>& devices) {
  return csv(devices,
             {"median_ms", "ci_low_ms", "ci_high_ms", "tflops", "speedup_over_baseline",
              "speedup_over_unfused", "confirmed", "samples"},
             speed_fields);
}

std::string memory_csv(const std::vector<DeviceResults>& devices) {
  return csv(devices, {"peak_bytes", "extra_bytes"}, memory_fields);
}

std::string summary_markdown(const std::vector<Section>& sections, const std::vector<DeviceResults>& devices,
                             const std::vector<std::string>& notes) {
  std::string text = "# fcsa: tuned attention, speed and memory\n\n";
  for (const std::string& note : notes) text += fmt::format("> {}\n>\n", markdown_escape(note));
  if (!notes.empty()) text += "\n";
  if (devices.empty()) return text;
  text +=
      "Times are medians with 95% confidence intervals. Speed-ups compare only what was measured interleaved "
      "in one "
      "confirmation race: means are geometric, with the range over the lengths.\n\n";
  for (const DeviceResults& results : devices) text += grid_means(results);
  text += "\n" + markdown_table(overview_markdown(sections, devices));
  for (const Section& section : sections) {
    text += fmt::format("\n## {}\n\n{} (`{}`)\n", section.title, fmt::join(section.shape, "; "),
                        section.class_text);
    if (const std::string note = speedup_note(section); !note.empty()) text += "\n" + note + "\n";
    for (std::size_t d = 0; d < devices.size(); ++d) {
      if (section.by_device[d].empty()) continue;
      text += fmt::format("\n### {}\n\n", markdown_escape(devices[d].label));
      text += markdown_table(winners_table(section, devices, d));
    }
  }
  text += "\n## Provenance\n";
  for (const DeviceResults& results : devices) {
    const Provenance provenance = provenance_of(results);
    Table facts{{"", ""}, {}};
    for (const auto& [name, value] : provenance.facts) facts.rows.push_back({name, value});
    text += fmt::format("\n{}\n", markdown_table(facts));
    for (const std::string& command : provenance.commands)
      text += fmt::format("- {}\n", markdown_escape(command));
  }
  return text;
}

}  // namespace fcsa::reports
