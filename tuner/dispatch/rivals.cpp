#include "tuner/dispatch/rivals.h"

#include <map>
#include <utility>

namespace fcsa::tuner {

std::vector<double> Rivals::predicted_ms(const kernels::Problem& problem, int multiprocessors) const {
  const auto position = kernels::position_of(problem, multiprocessors);
  std::vector<double> ms;
  for (std::size_t i = 0; i < rule.models.size(); ++i)
    ms.push_back(kernels::corrected_ms(rule.view(), static_cast<int>(i), position,
                                       kernels::modelled_ms(rule.models[i], problem, multiprocessors)));
  return ms;
}

Rivals rivals_of(const std::vector<ShapeTimes>& shapes, int multiprocessors) {
  std::map<std::string, std::vector<double>> times;
  std::vector<kernels::Problem> problems;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    problems.push_back(shapes[i].problem);
    for (const auto& [configuration, ms] : shapes[i].times) {
      auto& row = times[configuration];
      row.resize(shapes.size());
      row[i] = ms;
    }
  }
  Rivals rivals;
  std::vector<ConfigurationTimes> rows;
  for (auto& [configuration, row] : times) {
    rivals.configurations.push_back(configuration);
    rows.push_back({configuration, std::move(row)});
  }
  rivals.rule = fit_rule(rows, problems, multiprocessors);
  return rivals;
}

}  // namespace fcsa::tuner
