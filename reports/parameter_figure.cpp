#include "reports/parameter_figure.h"

#include <fmt/format.h>

#include "reports/parameters.h"

namespace fcsa::reports {
namespace {

std::string percent(double share) {
  return fmt::format("{:.{}f}%", 100 * share, share < 0.1 ? 1 : 0);
}

std::string fixed_text(const std::optional<Fixed>& fixed) {
  return fixed ? fmt::format("{} (+{})", fixed->value, percent(fixed->loss)) : "";
}

Figure make_figure(const Section& section, const DeviceResults& device, std::size_t index) {
  Figure figure{.title = "Which parameters mattered",
                .device = index,
                .note = "",
                .missing = fmt::format("fewer than {} configurations beyond one per length", kFewestTrials),
                .is_table = true,
                .text = {fmt::format("Which parameters mattered: {} on {}", section.title, device.label), ""},
                .numbers = {{"parameter", "share of variance", "values tried", "best single value (loss)",
                             "default (loss)", "meaning"},
                            {}},
                .plot = {}};
  const auto studies = study_parameters(section.by_device[index]);
  for (const ParameterStudy& study : studies) {
    figure.note += fmt::format("{}{}: {} on {}.", figure.note.empty() ? "" : " ", study.kernel,
                               count_text(study.trials, "trial", "trials"),
                               count_text(study.problems, "length", "lengths"));
    for (const ParameterEffect& effect : study.effects) {
      const std::string name = studies.size() > 1 ? study.kernel + " " + effect.name : effect.name;
      figure.numbers.rows.push_back({name, percent(effect.share), fmt::format("{}", effect.values),
                                     fixed_text(effect.best), fixed_text(effect.by_default), effect.meaning});
    }
  }
  return figure;
}

}  // namespace

FigureRow parameter_figures(const Section& section, const std::vector<DeviceResults>& devices) {
  FigureRow row;
  for (std::size_t d = 0; d < devices.size(); ++d)
    if (!section.by_device[d].empty()) row.push_back(make_figure(section, devices[d], d));
  return row;
}

}  // namespace fcsa::reports
