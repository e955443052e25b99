#include "runner/cuda/ptxas_log.h"

#include <algorithm>
#include <charconv>

namespace fcsa::runner::cuda {
namespace {

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// The number before `unit`: 24 for "Used 24 registers" and " registers"; 0 when the unit isn't there.
int number_before(std::string_view line, std::string_view unit) {
  const std::size_t end = line.find(unit);
  if (end == std::string_view::npos) return 0;
  std::size_t begin = end;
  while (begin > 0 && line[begin - 1] >= '0' && line[begin - 1] <= '9') --begin;
  int number = 0;
  std::from_chars(line.data() + begin, line.data() + end, number);
  return number;
}

// "C7512: text" when the line carries a code that disqualifies; empty otherwise.
std::string disqualification(std::string_view line) {
  const std::size_t open = line.find("(C75");
  if (open == std::string_view::npos) return {};
  const std::size_t close = line.find(')', open);
  if (close == std::string_view::npos) return {};
  const std::string_view code = line.substr(open + 1, close - open - 1);
  const bool listed = code == "C7508" || code == "C7512" || code == "C7517";
  if (!listed && line.find("Potential Performance Loss") == std::string_view::npos) return {};
  std::string_view text = line.substr(close + 1);
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  return std::string(code) + ": " + std::string(text);
}

}  // namespace

PtxasFindings parse_ptxas_log(std::string_view log) {
  PtxasFindings findings;
  auto& most = findings.resources;
  for (const std::string_view line : lines_of(log)) {
    most.registers = std::max(most.registers, number_before(line, " registers"));
    most.stack_bytes = std::max(most.stack_bytes, number_before(line, " bytes stack frame"));
    most.smem_bytes = std::max(most.smem_bytes, number_before(line, " bytes smem"));
    const int spilled =
        number_before(line, " bytes spill stores") + number_before(line, " bytes spill loads");
    most.spill_bytes = std::max(most.spill_bytes, spilled);
    std::string warning = disqualification(line);
    const bool repeated =
        std::find(findings.warnings.begin(), findings.warnings.end(), warning) != findings.warnings.end();
    if (!warning.empty() && !repeated) findings.warnings.push_back(std::move(warning));
  }
  return findings;
}

}  // namespace fcsa::runner::cuda
