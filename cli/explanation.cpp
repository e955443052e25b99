#include "cli/explanation.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/table.h"
#include "kernels/occupancy.h"
#include "tuner/trials/recording.h"

namespace fcsa::cli {
namespace {

using nlohmann::ordered_json;
using tuner::Explanation;
using tuner::Rival;

constexpr const char* kPrediction =
    "whole tiles and waves of the busiest multiprocessor, at speeds fitted to the tuned shapes, corrected by "
    "the "
    "nearest";

std::string ms_text(double ms) {
  return ms > 0 ? fmt::format("{:.4g}", ms) : "-";
}

std::string percent(double share) {
  return fmt::format("{:.1f}%", 100 * share);
}

std::string count(std::size_t n, const char* what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

double teraflops(const kernels::Problem& problem, double ms) {
  return ms > 0 ? kernels::flops(problem) / ms / 1e9 : 0;
}

// The launch that does the work: of the others none needs as much shared memory.
kernels::Launch main_launch(const tuner::Trial& trial) {
  const auto [problem, family, configuration] = tuner::candidate_of(trial.problem, trial.configuration);
  const auto plan = family->plan(kernels::traits_of(problem), configuration, kernels::shape_args(problem));
  kernels::Launch main = plan.steps[0];
  for (int i = 1; i < plan.count; ++i)
    if (plan.steps[i].smem_bytes > main.smem_bytes) main = plan.steps[i];
  return main;
}

std::optional<kernels::Occupancy> occupancy_of(const tuner::Trial& trial, const kernels::Target& target) {
  if (target.kind != kernels::DeviceKind::cuda) return std::nullopt;
  return kernels::occupancy(target, main_launch(trial), trial.evaluation.resources.registers);
}

std::string measured_text(const tuner::Measurement& m) {
  return fmt::format("{:.4g} ms (95%: {:.4g} to {:.4g})", m.median_ms, m.ci_low_ms, m.ci_high_ms);
}

std::vector<std::string> rival_row(const Rival& rival, const Explanation& explanation,
                                   const ExplanationContext& context) {
  std::vector<std::string> row = {rival.configuration,
                                  rival.configuration == explanation.choice.configuration ? "chosen"
                                  : rival.in_table                                        ? "in table"
                                                                                          : "-",
                                  ms_text(rival.predicted_ms)};
  if (!rival.trial) {
    row.insert(row.end(), 7, "-");
    return row;
  }
  const auto& m = rival.trial->evaluation.measurement;
  const auto& r = rival.trial->evaluation.resources;
  const auto held = occupancy_of(*rival.trial, context.measured_on.target);
  const auto known = [](int value) { return value > 0 ? std::to_string(value) : std::string("-"); };
  for (const auto& cell :
       {ms_text(m.median_ms), ms_text(m.ci_low_ms), ms_text(m.ci_high_ms),
        std::string(tuner::to_text(rival.trial->phase)), known(r.registers), known(r.smem_bytes),
        held ? fmt::format("{} ({:.0f}%, {})", held->blocks, 100 * held->of_threads, held->limited_by)
             : std::string("-")})
    row.push_back(cell);
  return row;
}

std::string rivals_text(const Explanation& explanation, const ExplanationContext& context) {
  Table table{{"configuration", "role", "predicted ms", "ms", "low", "high", "measured by", "registers",
               "smem bytes", "blocks per multiprocessor"},
              {}};
  for (const auto& rival : explanation.rivals) table.rows.push_back(rival_row(rival, explanation, context));
  return fmt::format(
      "\nRivals: predicted for this problem; measured, with the 95% interval of the median, on\n{}\n{}",
      kernels::to_text(explanation.choice.entry->problem), to_text(table));
}

std::string neighbours_text(const Explanation& explanation) {
  Table table{{"tuned shape", "octaves away", "choice", "ms", "over best", "left out"}, {}};
  for (const auto& neighbour : explanation.neighbours) {
    const auto& entry = *neighbour.entry;
    table.rows.push_back({kernels::to_text(entry.problem), fmt::format("{:.2f}", neighbour.octaves),
                          explanation.dispatch->configurations[entry.choice], ms_text(entry.chosen_ms),
                          percent(entry.chosen_ms / entry.best_ms - 1),
                          entry.left_out_regret ? percent(*entry.left_out_regret) : "-"});
  }
  return "\nNearest tuned shapes\n" + to_text(table);
}

std::string class_text(const tuner::DispatchClass& dispatch, double epsilon) {
  const auto& left = dispatch.left_out;
  std::string text =
      fmt::format("{} for {}, each within {:.3g}% of the best (worst {})",
                  count(dispatch.configurations.size(), "configuration"),
                  count(dispatch.entries.size(), "shape"), 100 * epsilon, percent(dispatch.worst_regret));
  if (left.priced > 0)
    text += fmt::format("; shapes left out of the table: median {}, worst {} slower than their best",
                        percent(left.median_regret), percent(left.worst_regret));
  if (left.unpriced > 0)
    text +=
        fmt::format("; {} without a price, for what would be chosen wasn't measured there", left.unpriced);
  return text;
}

ordered_json number_or_null(double value) {
  return value > 0 ? ordered_json(value) : ordered_json(nullptr);
}

ordered_json device_json(const kernels::DeviceInfo& device) {
  return {{"name", device.name},
          {"uuid", device.uuid},
          {"arch", device.target.arch},
          {"multiprocessors", device.target.multiprocessors}};
}

ordered_json rival_json(const Rival& rival, const ExplanationContext& context) {
  ordered_json json = {{"configuration", rival.configuration},
                       {"in_table", rival.in_table},
                       {"predicted_ms", rival.predicted_ms},
                       {"measured", nullptr}};
  if (!rival.trial) return json;
  const auto& m = rival.trial->evaluation.measurement;
  const auto& r = rival.trial->evaluation.resources;
  json["measured"] = {{"median_ms", m.median_ms},  {"low_ms", m.ci_low_ms},
                      {"high_ms", m.ci_high_ms},   {"phase", tuner::to_text(rival.trial->phase)},
                      {"registers", r.registers},  {"spill_bytes", r.spill_bytes},
                      {"smem_bytes", r.smem_bytes}};
  if (const auto held = occupancy_of(*rival.trial, context.measured_on.target))
    json["measured"]["occupancy"] = {
        {"blocks", held->blocks}, {"of_threads", held->of_threads}, {"limited_by", held->limited_by}};
  return json;
}

ordered_json left_out_json(const tuner::LeftOut& left) {
  const auto share = [&](double regret) {
    return left.priced > 0 ? ordered_json(regret) : ordered_json(nullptr);
  };
  return {{"median_regret", share(left.median_regret)},
          {"worst_regret", share(left.worst_regret)},
          {"priced", left.priced},
          {"unpriced", left.unpriced}};
}

ordered_json class_json(const tuner::DispatchClass& dispatch) {
  return {{"class", dispatch.class_text},
          {"shapes", dispatch.entries.size()},
          {"configurations", dispatch.configurations},
          {"worst_regret", dispatch.worst_regret},
          {"left_out", left_out_json(dispatch.left_out)}};
}

ordered_json entry_json(const tuner::DispatchClass& dispatch, const tuner::DispatchEntry& entry) {
  const auto regret = entry.left_out_regret ? ordered_json(*entry.left_out_regret) : ordered_json(nullptr);
  return {{"problem", kernels::to_text(entry.problem)},
          {"choice", dispatch.configurations[entry.choice]},
          {"ms", entry.chosen_ms},
          {"best_ms", entry.best_ms},
          {"baseline_ms", number_or_null(entry.baseline_ms)},
          {"left_out_choice", entry.left_out_choice},
          {"left_out_regret", regret}};
}

}  // namespace

std::string to_text(const Explanation& explanation, const ExplanationContext& context) {
  const auto& choice = explanation.choice;
  std::string text = fmt::format(
      "{}\non {} ({}, {} {})\n\nchoice     {}\nwhy        {}: {}\n", kernels::to_text(explanation.problem),
      context.device.name, context.device.target.arch, context.device.target.multiprocessors,
      context.device.target.kind == kernels::DeviceKind::cuda ? "multiprocessors" : "cores",
      choice.configuration, tuner::to_text(choice.match), choice.reason);
  if (explanation.dispatch == nullptr) return text;
  const bool exact = choice.entry->problem == explanation.problem;
  text += fmt::format("{}  {:.4g} ms, {:.4g} TFLOP/s{}\n", exact ? "measured " : "predicted",
                      choice.predicted_ms, teraflops(explanation.problem, choice.predicted_ms),
                      exact ? "" : fmt::format(", from {}", kPrediction));
  for (const auto& rival : explanation.rivals)
    if (rival.trial && rival.configuration == choice.configuration)
      text += fmt::format("measured   {}{}\n", measured_text(rival.trial->evaluation.measurement),
                          exact ? "" : " on the nearest tuned shape");
  text += fmt::format("table      {}\n", class_text(*explanation.dispatch, context.epsilon));
  return text + rivals_text(explanation, context) + neighbours_text(explanation);
}

ordered_json to_json(const Explanation& explanation, const ExplanationContext& context) {
  const auto& choice = explanation.choice;
  ordered_json json = {{"problem", kernels::to_text(explanation.problem)},
                       {"device", device_json(context.device)},
                       {"choice", choice.configuration},
                       {"match", tuner::to_text(choice.match)},
                       {"reason", choice.reason},
                       {"predicted_ms", number_or_null(choice.predicted_ms)},
                       {"tuned_shape", nullptr},
                       {"measured_on", nullptr},
                       {"table", nullptr},
                       {"rivals", ordered_json::array()},
                       {"neighbours", ordered_json::array()}};
  if (explanation.dispatch == nullptr) return json;
  json["tuned_shape"] = kernels::to_text(choice.entry->problem);
  json["measured_on"] = device_json(context.measured_on);
  json["table"] = class_json(*explanation.dispatch);
  for (const auto& rival : explanation.rivals) json["rivals"].push_back(rival_json(rival, context));
  for (const auto& neighbour : explanation.neighbours) {
    json["neighbours"].push_back(entry_json(*explanation.dispatch, *neighbour.entry));
    json["neighbours"].back()["octaves"] = neighbour.octaves;
  }
  return json;
}

std::string overview_text(const tuner::DispatchTable& table) {
  std::string text =
      fmt::format("{} ({}, {})\n", table.device.name, table.device.target.arch, table.device.uuid);
  for (const auto& dispatch : table.classes) {
    Table shapes{{"tuned shape", "choice", "ms", "over best", "left out"}, {}};
    for (const auto& entry : dispatch.entries)
      shapes.rows.push_back({kernels::to_text(entry.problem), dispatch.configurations[entry.choice],
                             ms_text(entry.chosen_ms), percent(entry.chosen_ms / entry.best_ms - 1),
                             entry.left_out_regret ? percent(*entry.left_out_regret) : "-"});
    text += fmt::format("\n{}\n{}\n{}", dispatch.class_text, class_text(dispatch, table.epsilon),
                        to_text(shapes));
  }
  return text;
}

ordered_json overview_json(const tuner::DispatchTable& table) {
  ordered_json json = {{"device", device_json(table.device)}, {"epsilon", table.epsilon}};
  for (const auto& dispatch : table.classes) {
    auto entry = class_json(dispatch);
    for (const auto& shape : dispatch.entries) entry["entries"].push_back(entry_json(dispatch, shape));
    json["classes"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace fcsa::cli
