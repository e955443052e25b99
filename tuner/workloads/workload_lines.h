// A workload file as lines of JSON objects, whether it is JSON or CSV: what a line means is decided later.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace fcsa::tuner {

inline constexpr const char* kWorkloadFormat = "fcsa workload";
inline constexpr int kWorkloadVersion = 1;
// What the lines that libfcsa records begin with.
inline constexpr std::string_view kRecordedStart = R"({"process":)";

struct WorkloadLine {
  std::size_t number = 0;       // from 1
  nlohmann::ordered_json json;  // an object; discarded: a recorded line that is cut off
};

// Blank lines are left out. The first has to be a header, in either form. Throws WorkloadError with file and
// line.
std::vector<WorkloadLine> workload_lines(std::string_view text, const std::string& file);

// The cells of a line of CSV: "a, b" and "a ""b""" are one. Throws std::invalid_argument for a quote without
// its end.
std::vector<std::string> csv_cells(std::string_view line);

}  // namespace fcsa::tuner
