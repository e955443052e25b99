#include "reports/peers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <stdexcept>
#include <system_error>

#include "reports/format.h"
#include "tuner/workloads/workload_lines.h"

namespace fcsa::reports {
namespace {

constexpr std::string_view kOwn = "fcsa";

using Cells = std::map<std::string, std::string>;  // by column

[[noreturn]] void refuse(const std::string& column, const std::string& cell, const std::string& allowed) {
  throw std::invalid_argument(fmt::format("{} is '{}': it must be {}", column, cell, allowed));
}

template <typename Number>
Number positive(const Cells& cells, const std::string& column) {
  const std::string& cell = cells.at(column);
  Number value{};
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (error != std::errc{} || end != cell.data() + cell.size() || !(value > 0))
    refuse(column, cell, std::is_integral_v<Number> ? "a whole number from 1" : "a number above 0");
  return value;
}

std::optional<double> positive_or_none(const Cells& cells, const std::string& column) {
  return cells.at(column).empty() ? std::nullopt : std::optional(positive<double>(cells, column));
}

// The one of two words that stands there: whether it is the first.
bool is_first(const Cells& cells, const std::string& column, const std::string& first,
              const std::string& second) {
  const std::string& cell = cells.at(column);
  if (cell != first && cell != second) refuse(column, cell, first + " or " + second);
  return cell == first;
}

float scale_of(const Cells& cells) {
  const std::string& cell = cells.at("scale");
  float value = 0;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (error != std::errc{} || end != cell.data() + cell.size()) refuse("scale", cell, "a number");
  return value;
}

kernels::Problem problem_of(const Cells& cells) {
  kernels::Problem p;
  const std::string& direction = cells.at("direction");
  if (direction != "forward" && direction != "backward" && direction != "both")
    refuse("direction", direction, "forward, backward or both");
  p.op = direction == "forward" ? kernels::Op::forward : kernels::Op::backward;
  p.dtype = kernels::dtype_from_text(cells.at("dtype"));
  p.batch = positive<int>(cells, "batch");
  p.heads = positive<int>(cells, "heads");
  p.kv_heads = positive<int>(cells, "kv_heads");
  p.nq = positive<int>(cells, "nq");
  p.nk = positive<int>(cells, "nk");
  p.head_dim = positive<int>(cells, "head_dim");
  p.causal = is_first(cells, "causal", "true", "false");
  p.l2norm_qk = is_first(cells, "normalisation", "included", "excluded");
  p.scale = scale_of(cells);
  return p;
}

// What is there before the passes that were measured: q, k and v, and for both passes the gradient of o.
double given_bytes(const kernels::Problem& p) {
  const double queries = double(p.batch) * p.heads * p.nq, keys = double(p.batch) * p.kv_heads * p.nk;
  const double rows = queries + 2 * keys + (p.op == kernels::Op::backward ? queries : 0);
  return rows * p.head_dim * kernels::element_bytes(p.dtype);
}

PeerMeasurement measurement_of(const Cells& cells) {
  PeerMeasurement m;
  m.peer = cells.at("peer");
  m.problem = problem_of(cells);
  m.kind = is_first(cells, "device", "cpu", "cuda") ? kernels::DeviceKind::cpu : kernels::DeviceKind::cuda;
  m.device = cells.at("device_name");
  m.torch = cells.at("torch");
  m.cache = is_first(cells, "cache", "warm", "cold") ? tuner::CacheState::warm : tuner::CacheState::cold;
  if (m.peer.empty()) refuse("peer", m.peer, "a name");
  const std::string& direction = cells.at("direction");
  if (const auto ms = positive_or_none(cells, "median_ms"); direction != "both") m.median_ms = ms;
  if (const auto peak = positive_or_none(cells, "peak_bytes"); peak && direction != "backward")
    m.peak_bytes = *peak + given_bytes(m.problem);
  m.out_of_memory = cells.at("reason").find("out of memory") != std::string::npos;
  return m;
}

const std::vector<std::string>& needed_columns() {
  static const std::vector<std::string> names = {
      "peer",   "normalisation", "direction", "device",     "device_name", "torch", "cache",
      "dtype",  "batch",         "heads",     "kv_heads",   "nq",          "nk",    "head_dim",
      "causal", "scale",         "median_ms", "peak_bytes", "reason"};
  return names;
}

void check_columns(const std::vector<std::string>& columns) {
  for (const std::string& name : needed_columns())
    if (std::count(columns.begin(), columns.end(), name) != 1)
      throw std::invalid_argument(
          fmt::format("there must be one column '{}', and there are {}: take the compare.csv that `python -m "
                      "flash_cosine_sim_attention.compare --out FOLDER` of this version writes",
                      name, fmt::join(columns, ",")));
}

Cells named(const std::vector<std::string>& columns, const std::vector<std::string>& cells) {
  if (cells.size() != columns.size())
    throw std::invalid_argument(fmt::format("{} cells, and {} columns", cells.size(), columns.size()));
  Cells result;
  for (std::size_t i = 0; i < cells.size(); ++i) result[columns[i]] = cells[i];
  return result;
}

void add(Peers& peers, PeerMeasurement measurement) {
  if (measurement.peer == kOwn) return;
  if (std::find(peers.names.begin(), peers.names.end(), measurement.peer) == peers.names.end())
    peers.names.push_back(measurement.peer);
  peers.measurements.push_back(std::move(measurement));
}

}  // namespace

Peers peers_from_csv(std::string_view text, const std::string& file) {
  Peers peers{.file = file, .names = {}, .measurements = {}};
  std::vector<std::string> columns;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line == "\r") continue;
    try {
      auto cells = tuner::csv_cells(line);
      if (!columns.empty()) {
        add(peers, measurement_of(named(columns, cells)));
        continue;
      }
      check_columns(cells);
      columns = std::move(cells);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(fmt::format("{}:{}: {}", file, number, error.what()));
    }
  }
  if (peers.measurements.empty())
    throw std::invalid_argument(fmt::format("{}: there is no measurement of a peer in it", file));
  return peers;
}

bool is_of(const PeerMeasurement& measurement, const Point& point, const kernels::DeviceInfo& device) {
  kernels::Problem problem = point.problem;
  problem.logit_bound.reset();
  return problem == measurement.problem && point.cache == measurement.cache &&
         device.target.kind == measurement.kind && device.name == measurement.device;
}

std::string left_out_note(const Peers& peers, const std::vector<DeviceResults>& devices) {
  std::size_t left_out = 0;
  std::set<std::string> there;  // where the file's are from
  for (const PeerMeasurement& m : peers.measurements) {
    const bool drawn = std::any_of(devices.begin(), devices.end(), [&](const DeviceResults& results) {
      return std::any_of(results.points.begin(), results.points.end(),
                         [&](const Point& point) { return is_of(m, point, results.device); });
    });
    if (drawn) continue;
    ++left_out;
    there.insert(fmt::format("{}, {} cache, normalisation {}", m.device, tuner::to_text(m.cache),
                             m.problem.l2norm_qk ? "included" : "excluded"));
  }
  if (left_out == 0) return "";
  return fmt::format(
      "{}: {} of {} not drawn ({}): the report has no equal problem on a device of that name in that cache "
      "state. Compare on the same machine, with --problems or the same grid, and the same --cache.",
      peers.file, left_out, count_text(peers.measurements.size(), "measurement is", "measurements are"),
      fmt::join(there, "; "));
}

}  // namespace fcsa::reports
