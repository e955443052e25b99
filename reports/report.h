// Speed and memory against sequence length, from a tuning database.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "reports/peaks.h"
#include "reports/peers.h"
#include "tuner/trials/store.h"
#include "tuner/workloads/workload.h"

namespace fcsa::reports {

struct ReportResult {
  std::vector<std::filesystem::path> files;
  std::vector<std::string> notes;  // what is missing and why: no gnuplot, no confirmed problem, ...
};

struct ReportOptions {
  std::vector<DevicePeaks> peaks = {};  // looked through before known_peaks()
  // What it takes and loses becomes a section, and workload.csv.
  const tuner::Workload* workload = nullptr;
  // Lines beside the report's own, where problem, device and cache state are the same.
  const Peers* peers = nullptr;
};

// Writes index.html (self-contained, SVG plots), summary.md, speed.csv and memory.csv into `directory`, each
// to a temporary name and renamed. Works on an empty, a partial and a many-device database. Throws
// std::runtime_error when the directory can't be written.
ReportResult write_report(const std::vector<tuner::StoredTrial>& trials,
                          const std::filesystem::path& directory, const ReportOptions& options = {});

}  // namespace fcsa::reports
