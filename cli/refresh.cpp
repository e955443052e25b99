#include "cli/refresh.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "cli/options.h"
#include "cli/patience.h"
#include "cli/say.h"
#include "cli/sessions.h"
#include "cli/table.h"
#include "tuner/dispatch/dispatch.h"
#include "tuner/search/refresh.h"

namespace fcsa::cli {
namespace {

using tuner::Freshness;
using tuner::RecordedWinner;
using tuner::RefreshResult;

struct Line {
  const RecordedWinner* winner = nullptr;
  RefreshResult result;
};

std::vector<RecordedWinner> winners_of(const tuner::Store& store, const kernels::DeviceInfo& device) {
  std::string others;
  for (const auto& row : store.summary().devices) {
    if (row.trials == 0) continue;
    if (tuner::same_model(row.device, device)) return tuner::recorded_winners(store.trials(), device);
    others += fmt::format("\n  {}  {}", row.device.uuid, row.device.name);
  }
  throw UsageError(fmt::format(
      "--refresh: {} has no trial of a {}: run fcsa tune on it first, or choose another --db or --device{}",
      store.file().string(), device.name, others.empty() ? "" : "; it has those of:" + others));
}

tuner::CacheState cache_of(const RecordedWinner& winner) {
  return winner.trial.trial.evaluation.measurement.cache;
}

std::string anchor_text(const RefreshResult& result) {
  return result.relative_to.empty() ? "time" : result.relative_to;
}

Table result_table(const std::vector<Line>& lines) {
  Table table{{"problem", "configuration", "verdict", "ratio", "low", "high", "relative to", "recorded ms",
               "ms", "drift", "changed", "note"},
              {}};
  const auto or_dash = [](const std::string& text) { return text.empty() ? std::string("-") : text; };
  for (const auto& [winner, result] : lines) {
    const bool measured = result.freshness != Freshness::failed;
    const auto number = [&](double value, bool known) {
      return known ? fmt::format("{:.4f}", value) : std::string("-");
    };
    table.rows.push_back({kernels::to_text(winner->candidate.problem),
                          tuner::configuration_text(winner->candidate),
                          std::string(tuner::to_text(result.freshness)), number(result.ratio.value, measured),
                          number(result.ratio.low, measured), number(result.ratio.high, measured),
                          measured ? anchor_text(result) : "-", number(result.recorded_ms, true),
                          number(result.now_ms, measured), number(result.drift, result.drift > 0),
                          or_dash(result.changed), or_dash(result.message)});
  }
  return table;
}

std::size_t count(const std::vector<Line>& lines, Freshness freshness) {
  return static_cast<std::size_t>(std::count_if(
      lines.begin(), lines.end(), [&](const Line& line) { return line.result.freshness == freshness; }));
}

double median_drift(const std::vector<Line>& lines) {
  std::vector<double> drifts;
  for (const auto& line : lines)
    if (line.result.drift > 0) drifts.push_back(line.result.drift);
  return drifts.empty() ? 0 : tuner::summarize(std::move(drifts)).median;
}

void print_summary(const std::vector<Line>& lines, const RefreshOptions& options) {
  std::string text;
  for (const auto freshness :
       {Freshness::same, Freshness::faster, Freshness::slower, Freshness::unsure, Freshness::failed})
    text +=
        fmt::format("{}{} {}", text.empty() ? "" : ", ", count(lines, freshness), tuner::to_text(freshness));
  fmt::print("{} (ratio: time now over time recorded; SAME: within {:g}%)\n", text, 100 * options.tolerance);
  if (const double drift = median_drift(lines); drift > 0)
    fmt::print(
        "drift: what the winners were compared with takes {:.3f} times as long as recorded (median); what "
        "slows "
        "everything alike shows there, not in the ratio\n",
        drift);
  std::set<std::string> commands;
  for (const auto& [winner, result] : lines)
    if (result.freshness == Freshness::slower || result.freshness == Freshness::failed)
      commands.insert(winner->trial.session.command);
  for (const auto& command : commands) fmt::print("to search again: {}\n", command);
}

class Refresh {
 public:
  Refresh(const RefreshOptions& options, Context& context) : options_(options), context_(context) {}

  void run() {
    runner::ProcessEvaluator evaluator(options_.evaluator);
    tuner::Store store(options_.file, tuner::Store::Mode::read_write, patience());
    const auto winners = winners_of(store, evaluator.device());
    store.begin_session(tuner_session(evaluator.device()));
    for (const auto cache : {tuner::CacheState::warm, tuner::CacheState::cold}) {
      std::vector<const RecordedWinner*> chosen;
      for (const auto& winner : winners)
        if (cache_of(winner) == cache) chosen.push_back(&winner);
      if (chosen.empty()) continue;
      if (cache == evaluator.cache_state()) {
        measure(chosen, evaluator, store);
      } else {
        auto other = options_.evaluator;
        other.measurement.cache = cache;
        runner::ProcessEvaluator of_this_cache(other);
        measure(chosen, of_this_cache, store);
      }
    }
    print(result_table(lines_), options_.json);
    if (!options_.json) print_summary(lines_, options_);
    const bool interrupted = lines_.size() < winners.size();
    if (interrupted && !options_.json)
      fmt::print("interrupted: {} of {} measured\n", lines_.size(), winners.size());
    if (interrupted || count(lines_, Freshness::slower) + count(lines_, Freshness::failed) > 0)
      context_.exit_status = 1;
  }

 private:
  tuner::Session tuner_session(const kernels::DeviceInfo& device) const {
    return new_session(device, command_line(), options_.evaluator.seed);
  }

  void measure(const std::vector<const RecordedWinner*>& winners, tuner::Evaluator& evaluator,
               tuner::TrialSink& sink) {
    tuner::RecordingEvaluator recording(evaluator, sink, options_.evaluator.seed,
                                        &std::chrono::steady_clock::now);
    for (const auto* winner : winners) {
      std::vector<tuner::Candidate> candidates{winner->candidate};
      for (const auto& anchor : winner->anchors) candidates.push_back(anchor.candidate);
      recording.prefetch(candidates);
    }
    for (const auto* winner : winners) {
      if (*context_.stop) return;
      try {
        lines_.push_back({winner, tuner::refresh(*winner, recording, options_.tolerance)});
      } catch (const tuner::Interrupted&) {
        return;
      }
      if (!options_.quiet)
        say("{}: {}\n", kernels::to_text(winner->candidate.problem),
            tuner::to_text(lines_.back().result.freshness));
    }
  }

  const RefreshOptions& options_;
  Context& context_;
  std::vector<Line> lines_;
};

}  // namespace

void refresh(const RefreshOptions& options, Context& context) {
  Refresh(options, context).run();
}

}  // namespace fcsa::cli
