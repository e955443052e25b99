// Writes reports of made-up databases, to be looked at: sample_reports FOLDER. Says how long each took.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <string>

#include "reports/report.h"
#include "tests/reports/fabricated.h"

namespace {

namespace fabricated = fcsa::reports::fabricated;

void write(const std::filesystem::path& folder, const std::vector<fcsa::tuner::StoredTrial>& trials,
           const fcsa::reports::ReportOptions& options = {}) {
  const auto start = std::chrono::steady_clock::now();
  fcsa::reports::write_report(trials, folder, options);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  fmt::print("{}: {} trials in {:.2f} s\n", folder.string(), trials.size(), took.count());
}

// Of all kinds that there are, as fast as they might be on the trials' problems.
fcsa::reports::Peers peers_of(const std::vector<fcsa::tuner::StoredTrial>& trials) {
  const std::map<std::string, double> speeds = {
      {"fa2", 1.4e13},         {"fa3", 2.6e13},    {"fa4", 2.8e13},        {"flex", 1.7e13},
      {"plain", 2e12},         {"original", 4e12}, {"sdpa-cudnn", 2.4e13}, {"sdpa-efficient", 8e12},
      {"sdpa-flash", 1.35e13}, {"sdpa-math", 1e12}};
  fcsa::reports::Peers peers{.file = "compare.csv", .names = {}, .measurements = {}};
  for (const auto& [name, speed] : speeds) {
    peers.names.push_back(name);
    for (const auto& stored : trials) {
      const auto& problem = stored.trial.problem;
      fcsa::reports::PeerMeasurement m;
      m.peer = name;
      m.problem = problem;
      m.kind = stored.session.device.target.kind;
      m.device = stored.session.device.name;
      m.torch = "2.15.0";
      m.median_ms = fcsa::kernels::flops(problem) / (speed * problem.nk / (problem.nk + 900.0)) * 1e3;
      const double pairs = 4.0 * problem.batch * problem.heads * problem.nq * problem.nk;
      m.peak_bytes = fcsa::kernels::bytes(problem) + (speed < 3e12 ? 2 * pairs : 0);
      peers.measurements.push_back(m);
    }
  }
  return peers;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: sample_reports FOLDER\n");
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  write(folder / "empty", {});
  write(folder / "partial", fabricated::interrupted());
  write(folder / "failed", fabricated::nothing_worked());
  write(folder / "two_devices", fabricated::two_devices());
  const auto trials = fabricated::two_devices();
  const auto peers = peers_of(trials);
  write(folder / "peers", trials, {.peaks = {}, .workload = nullptr, .peers = &peers});
  write(folder / "many", fabricated::many(10000));
}
