#include "reports/durations.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <string>

namespace fcsa::reports {
namespace {

// Of "2026-03-01T10:00:00Z" or with a fraction of a second; zero when it is neither.
double epoch_seconds(const std::string& time) {
  std::tm parts{};
  double seconds = 0;
  if (std::sscanf(time.c_str(), "%d-%d-%dT%d:%d:%lfZ", &parts.tm_year, &parts.tm_mon,
                  &parts.tm_mday,  // NOLINT
                  &parts.tm_hour, &parts.tm_min, &seconds) != 6)
    return 0;
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  return static_cast<double>(timegm(&parts)) + seconds;
}

}  // namespace

std::unordered_map<const tuner::StoredTrial*, double> durations(
    const std::vector<const tuner::StoredTrial*>& trials) {
  std::unordered_map<const tuner::StoredTrial*, double> took_s;
  std::unordered_map<std::string, double> latest;  // by session
  for (const tuner::StoredTrial* trial : trials) {
    const auto [at, first] = latest.try_emplace(trial->session.id, 0);
    if (first) at->second = epoch_seconds(trial->session.started_at);
    const double finished = epoch_seconds(trial->trial.finished_at);
    took_s[trial] = std::max(0.0, finished - at->second);
    at->second = std::max(finished, at->second);
  }
  return took_s;
}

}  // namespace fcsa::reports
