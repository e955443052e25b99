#include "cli/tuning_progress.h"
#include "cli/say.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace fcsa::cli {
namespace {

std::string minutes(double seconds) {
  const int whole = static_cast<int>(seconds + 0.5);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

std::string summary(const tuner::Progress& p) {
  std::string text = fmt::format("[{}/{}] trial {}/{}", p.problem, p.problems, p.evaluation, p.evaluations);
  if (p.best_ms > 0) text += fmt::format("  best {:.4g} ms", p.best_ms);
  if (p.best_ms > 0 && p.baseline_ms > 0)
    text += fmt::format(" ({:.2f}x baseline)", p.baseline_ms / p.best_ms);
  return text + fmt::format("  {} gone, {} left", minutes(p.elapsed_s), minutes(p.remaining_s));
}

std::string configuration_text(const tuner::Progress& p) {
  return kernels::to_text(*p.candidate->family, p.candidate->problem.op, p.candidate->configuration);
}

std::string probe_text(const tuner::Progress& p) {
  return fmt::format("[dispatch] probe {}  {} gone, {} left  {}", p.evaluation, minutes(p.elapsed_s),
                     minutes(p.remaining_s), p.probe);
}

std::string result_text(const tuner::Progress& p) {
  const auto& evaluation = *p.evaluation_result;
  if (evaluation.status == tuner::Status::ok)
    return fmt::format("{:.4g} ms{}", evaluation.measurement.median_ms, p.reused ? " (known)" : "");
  return fmt::format("{}{}", tuner::to_text(evaluation.status), p.reused ? " (known)" : "");
}

int terminal_width(std::FILE* stream) {
  winsize size{};
  return ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

ProgressPrinter::ProgressPrinter(std::FILE* stream)
    : stream_(stream), terminal_(isatty(fileno(stream)) != 0) {}

void ProgressPrinter::operator()(const tuner::Progress& p) {
  if (p.candidate == nullptr && p.probe.empty()) return;
  if (!terminal_ && !p.probe.empty()) {
    say_to(stream_, "{}\n", probe_text(p));
    return;
  }
  if (!terminal_) {
    const std::string configuration = configuration_text(p);
    say_to(stream_, "{}  {}: {}: {}\n", summary(p), kernels::to_text(p.candidate->problem), configuration,
           p.evaluation_result ? result_text(p) : "started");
    return;
  }
  std::string line = p.probe.empty() ? summary(p) + "  " + configuration_text(p) : probe_text(p);
  line.resize(std::min<std::size_t>(line.size(), terminal_width(stream_) - 1));
  say_to(stream_, "\r\033[K{}", line);
  std::fflush(stream_);
  line_open_ = true;
}

void ProgressPrinter::finish() {
  if (line_open_) say_to(stream_, "\r\033[K");
  line_open_ = false;
}

}  // namespace fcsa::cli
