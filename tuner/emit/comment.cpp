#include "tuner/emit/comment.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <sstream>
#include <tuple>

#include "tuner/emit/text.h"

namespace fcsa::tuner {
namespace {

using kernels::Op;
using kernels::Problem;
using Row = std::vector<std::string>;

constexpr std::size_t kWidth = 100;
constexpr std::size_t kMostCommands = 8;

// Words of a paragraph on lines of at most kWidth.
std::string wrapped(const std::string& paragraph) {
  std::istringstream words(paragraph);
  std::string text, line;
  for (std::string word; words >> word;) {
    if (!line.empty() && line.size() + 1 + word.size() > kWidth) {
      text += line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return text + line + "\n";
}

// The first column to the left, the others to the right.
std::string aligned(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const Row& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (const Row& row : rows) {
    text += fmt::format("  {:<{}}", row.front(), widths.front());
    for (std::size_t i = 1; i < row.size(); ++i) text += fmt::format("  {:>{}}", row[i], widths[i]);
    text += "\n";
  }
  return text;
}

std::string range(const DispatchClass& c, int Problem::*size) {
  const auto [least, most] =
      std::minmax_element(c.entries.begin(), c.entries.end(),
                          [&](const auto& a, const auto& b) { return a.problem.*size < b.problem.*size; });
  const int low = least->problem.*size, high = most->problem.*size;
  return low == high ? std::to_string(low) : fmt::format("{}..{}", low, high);
}

// Queries and keys, one number where they are as many.
std::string lengths(const DispatchClass& c) {
  const bool square = std::all_of(c.entries.begin(), c.entries.end(),
                                  [](const auto& entry) { return entry.problem.nq == entry.problem.nk; });
  const std::string queries = range(c, &Problem::nq);
  return square ? queries : fmt::format("{} x {}", queries, range(c, &Problem::nk));
}

// Geometric mean of the baseline's time over the chosen one's; "-" where it wasn't measured.
std::string over_baseline(const DispatchClass& c) {
  double sum = 0;
  int count = 0;
  for (const auto& entry : c.entries) {
    if (entry.baseline_ms <= 0) continue;
    sum += std::log(entry.baseline_ms / entry.chosen_ms);
    ++count;
  }
  return count == 0 ? "-" : fmt::format("{:.2f}x", std::exp(sum / count));
}

std::string percent(double fraction) {
  return fmt::format("{:.1f}%", 100 * fraction);
}

Row class_row(const DispatchClass& c) {
  std::string name = c.class_text;
  if (const std::string op = "forward "; name.starts_with(op)) name.erase(0, op.size());
  return {name,
          std::to_string(c.entries.size()),
          lengths(c),
          std::to_string(c.configurations.size()),
          percent(c.worst_regret),
          c.left_out.priced == 0 ? "-" : percent(c.left_out.median_regret),
          c.left_out.priced == 0 ? "-" : percent(c.left_out.worst_regret),
          over_baseline(c)};
}

std::string tuned_table(const Emission& emission) {
  std::vector<Row> rows = {{"", "shapes", "lengths", "kernels", "regret", "unseen", "worst", "gain"}};
  for (const auto& c : emission.table.classes) rows.push_back(class_row(c));
  std::string text = "Tuned:\n" + aligned(rows);
  constexpr const char* kMeaning = R"(
      The fewest kernels within {:.3g}% of the best that was measured on every shape. Regret: what that costs
      at worst. Unseen, worst: what the choice costs on a shape that the table was made without, the median and
      the worst of the shapes. Gain: geometric mean of the speed over the family's untuned configuration.)";
  return text + wrapped(fmt::format(kMeaning, 100 * emission.table.epsilon));
}

// Fields of an Attention that differ from their defaults, for a tuned problem.
std::string example_fields(const Problem& p) {
  std::string text = fmt::format("    a.dtype = tuned::DType::{};\n    a.head_dim = {};\n",
                                 kernels::to_text(p.dtype), p.head_dim);
  text += fmt::format("    a.batch = {}; a.heads = {}; a.kv_heads = {};\n", p.batch, p.heads, p.kv_heads);
  text += fmt::format("    a.nq = {}; a.nk = {};  // any lengths\n", p.nq, p.nk);
  if (p.causal) text += "    a.causal = true;\n";
  if (p.layout == kernels::Layout::bnhd) text += "    a.layout = tuned::Layout::bnhd;\n";
  if (p.key_mask) text += "    a.key_mask = key_mask;\n";
  if (p.bias != kernels::Bias::none) text += "    a.bias = bias;\n";
  if (p.bias == kernels::Bias::same) text += "    a.bias_dtype = a.dtype;\n";
  if (p.head_scale) text += "    a.head_scale = head_scale;\n";
  if (!p.l2norm_qk) text += "    a.l2norm_qk = false;\n";
  if (p.groups != 1) text += fmt::format("    a.groups = {};\n", p.groups);
  if (p.logit_bound) text += fmt::format("    a.logit_bound = {};\n", *p.logit_bound);
  if (p.allow_tf32) text += "    a.allow_tf32 = true;\n";
  return text;
}

// The largest shape of the plainest of the classes that were tuned at most shapes, forward if there are any.
const Problem& example_problem(const EmitPlan& plan) {
  const auto rank = [](const EmittedClass& c) {
    return std::tuple(c.op == Op::forward, c.shapes.size(), -static_cast<long>(c.tuned_as.front().size()));
  };
  const auto end = plan.classes.begin() + static_cast<std::ptrdiff_t>(plan.tuned_classes);
  return std::max_element(plan.classes.begin(), end,
                          [&](const auto& a, const auto& b) { return rank(a) < rank(b); })
      ->shapes.back()
      .problem;
}

std::string example_call(const HeaderUse& use, Op op) {
  return fmt::format(
      "    if (const tuned::Status status = tuned::{}({}); !status.ok())\n"
      "      std::fprintf(stderr, \"%s\\n\", status.text);\n",
      kernels::to_text(op), use.arguments);
}

// Of what the forward pass wrote.
std::string backward_example(const HeaderUse& use) {
  return "  Gradients:\n"
         "    a.lse = lse; a.dout = dout;          // lse before forward(), which writes it\n"
         "    a.dq = dq; a.dk = dk; a.dv = dv;     // workspace_bytes(a, tuned::Op::backward)\n" +
         example_call(use, Op::backward);
}

std::string example(const Emission& emission, const HeaderUse& use) {
  const std::string forward = fmt::format(
      "    namespace tuned = {};\n"
      "    tuned::Attention a;\n"
      "    a.q = q; a.k = k; a.v = v; a.o = o;  // {}\n{}"
      "    void* workspace = nullptr;           // may be kept and used again\n"
      "    const std::size_t bytes = tuned::workspace_bytes(a);\n"
      "    {}\n{}",
      use.space, use.pointers, example_fields(example_problem(emission.plan)), use.allocate,
      example_call(use, Op::forward));
  return has_op(emission.plan, Op::backward) ? forward + backward_example(use) : forward;
}

// Of what was tuned every kernel was verified; of the others nobody has seen the results.
std::string unverified(const EmitPlan& plan) {
  std::vector<std::string> classes;
  for (std::size_t i = plan.tuned_variants; i < plan.variants.size(); ++i)
    classes.push_back(kernels::class_text(plan.variants[i].problem));
  std::sort(classes.begin(), classes.end());
  classes.erase(std::unique(classes.begin(), classes.end()), classes.end());
  std::string text =
      "\nNot verified on the device before this was made, unlike what was tuned (fcsa verify checks them):\n";
  for (const std::string& problem_class : classes) text += fmt::format("  {}\n", problem_class);
  return text;
}

std::string served(const EmitPlan& plan) {
  constexpr const char* kTuned = R"(
      A shape that was tuned has its own kernel, another one like it the kernel that is predicted to be the
      fastest there; describe() says which.)";
  constexpr const char* kNeighbours = R"(
      Problems next to those, causal or not, with a key_mask or not, at any scale, of raw q and k, have one
      kernel each; bias and head_scale are served as they were tuned. Define FCSA_TUNED_ONLY, in every file
      that includes this one, to compile only what was tuned.)";
  constexpr const char* kDeterministic = R"(
      That of a backward pass is deterministic, and serves `deterministic` where what was tuned isn't.)";
  const bool neighbours = plan.variants.size() > plan.tuned_variants;
  std::string text = std::string(kTuned) + (neighbours ? kNeighbours : " Others are refused.");
  text = wrapped(neighbours && has_op(plan, Op::backward) ? text + kDeterministic : text);
  return neighbours ? text + unverified(plan) : text;
}

std::string provenance(const Emission& emission) {
  const kernels::DeviceInfo& device = emission.table.device;
  const Provenance& from = emission.provenance;
  std::string text = fmt::format(
      "Measured on:\n  device    {}{} ({}, {} {})\n  driver    {}\n  compiler  {}\n"
      "  when      {} to {}\n  trials    {}, of which {} were right and timed\n  sources   {}\n",
      from.devices > 1 ? fmt::format("{} x ", from.devices) : "", device.name, device.target.arch,
      device.target.multiprocessors,
      device.target.kind == kernels::DeviceKind::cuda ? "multiprocessors" : "cores", device.driver,
      device.compiler, from.first_at, from.last_at, from.trials, from.timed, emission.sources);
  text += "To make it again:\n";
  for (const auto& command : std::span(from.commands).first(std::min(from.commands.size(), kMostCommands)))
    text += fmt::format("  {}\n", command);
  if (from.commands.size() > kMostCommands)
    text += fmt::format("  and {} more like these\n", from.commands.size() - kMostCommands);
  return text + fmt::format("  {}\n", emission.command);
}

}  // namespace

std::string opening_comment(const Emission& emission, const HeaderUse& use) {
  std::string text = fmt::format(
      "SPDX-License-Identifier: MIT\n\n"
      "{}: flash cosine-similarity attention, tuned for {}.\n"
      "Made by fcsa {}: don't edit it, make it again (see below).\n\n"
      "Compile:\n  {}\nUse:\n{}\n{}",
      emitted_name(emission, Format::header), emission.table.device.name, FCSA_VERSION, use.compile,
      example(emission, use), served(emission.plan));
  if (!use.remarks.empty()) text += wrapped(use.remarks);
  text += fmt::format("\n{}\n{}\n", tuned_table(emission), provenance(emission));
  return as_comment(text);
}

}  // namespace fcsa::tuner
