#include "tuner/dispatch/probes.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "tuner/dispatch/break_points.h"
#include "tuner/dispatch/random_shapes.h"
#include "tuner/dispatch/rivals.h"

namespace fcsa::tuner {
namespace {

constexpr std::size_t kRivalsOfProbe = 3;   // outside of the table, in a probe
constexpr std::size_t kRandomShapes = 256;  // looked at for one probe
constexpr std::size_t kEnough = 4;          // shapes foreseen one after the other

std::vector<kernels::Problem> problems_of(const DispatchClass& dispatch) {
  std::vector<kernels::Problem> problems;
  for (const auto& entry : dispatch.entries) problems.push_back(entry.problem);
  return problems;
}

// Shapes that were measured by probes only, each once, the latest last.
std::vector<kernels::Problem> probed_problems(const std::vector<StoredTrial>& trials) {
  std::set<std::string> known;
  for (const auto& stored : trials)
    if (stored.trial.phase != Phase::probe && stored.trial.phase != Phase::refresh)
      known.insert(kernels::to_text(stored.trial.problem));
  std::vector<kernels::Problem> probed;
  for (const auto& stored : trials)
    if (known.insert(kernels::to_text(stored.trial.problem)).second) probed.push_back(stored.trial.problem);
  return probed;
}

}  // namespace

std::string_view to_text(ProbeKind kind) {
  switch (kind) {
    case ProbeKind::every_choice:
      return "every choice";
    case ProbeKind::break_point:
      return "break point";
    case ProbeKind::unlike_choice:
      return "other winner";
    case ProbeKind::left_out:
      return "left out";
  }
  throw std::invalid_argument("probe kind has no name");
}

ProbedClass::ProbedClass(std::string class_text, const std::vector<StoredTrial>& trials,
                         const kernels::DeviceInfo& device, double epsilon)
    : class_text_(std::move(class_text)), device_(device), epsilon_(epsilon) {
  for (const auto& stored : trials) {
    if (same_model(stored.session.device, device) && kernels::class_text(stored.trial.problem) == class_text_)
      trials_.push_back(stored);
  }
  update();
}

void ProbedClass::update() {
  shapes_ = times_of_shapes(TrialHistory(trials_, device_).usable());
  if (!shapes_.empty()) dispatch_ = make_dispatch_class(shapes_, device_.target, epsilon_);
}

bool ProbedClass::tried(const kernels::Problem& problem, const std::string& configuration) const {
  return tried_of(problem).contains(configuration);
}

const std::set<std::string>& ProbedClass::tried_of(const kernels::Problem& problem) const {
  static const std::set<std::string> kNone;
  const auto found = tried_.find(kernels::to_text(problem));
  return found == tried_.end() ? kNone : found->second;
}

Probe ProbedClass::with_choices(ProbeKind kind, const kernels::Problem& problem,
                                const std::vector<std::string>& more) const {
  Probe probe{kind, problem, dispatch_.configurations};
  for (const auto& configuration : more) {
    if (std::find(probe.configurations.begin(), probe.configurations.end(), configuration) ==
        probe.configurations.end())
      probe.configurations.push_back(configuration);
  }
  return probe;
}

std::optional<Probe> ProbedClass::next() const {
  if (shapes_.empty()) return std::nullopt;
  for (const auto find : {&ProbedClass::every_choice, &ProbedClass::break_point, &ProbedClass::unlike_choice,
                          &ProbedClass::left_out}) {
    if (auto probe = (this->*find)()) return probe;
  }
  return std::nullopt;
}

std::optional<Probe> ProbedClass::every_choice() const {
  for (const auto& entry : dispatch_.entries) {
    for (std::size_t i = 0; i < dispatch_.configurations.size(); ++i) {
      if (entry.times_ms[i] == 0 && !tried(entry.problem, dispatch_.configurations[i]))
        return with_choices(ProbeKind::every_choice, entry.problem, {});
    }
  }
  return std::nullopt;
}

std::optional<Probe> ProbedClass::break_point() const {
  for (const auto& point : break_points(dispatch_, probed_problems(trials_), epsilon_)) {
    if (!tried(point.between, dispatch_.configurations.front()))
      return with_choices(ProbeKind::break_point, point.between, {});
  }
  return std::nullopt;
}

// The latest shapes that weren't tuned got what is within epsilon of the best by a table without them.
bool ProbedClass::foresees() const {
  const auto probed = probed_problems(trials_);
  std::size_t foreseen = 0;
  for (auto problem = probed.rbegin(); problem != probed.rend(); ++problem) {
    const auto entry = std::find_if(dispatch_.entries.begin(), dispatch_.entries.end(),
                                    [&](const auto& e) { return e.problem == *problem; });
    if (entry == dispatch_.entries.end()) continue;
    if (!entry->left_out_regret || *entry->left_out_regret > epsilon_) return false;
    if (++foreseen == kEnough) return true;
  }
  return false;
}

std::optional<Probe> ProbedClass::unlike_choice() const {
  if (foresees() || shapes_.size() < 2) return std::nullopt;
  const int multiprocessors = device_.target.multiprocessors;
  const Rivals all = rivals_of(shapes_, multiprocessors);
  const auto chosen = [&](std::size_t i) {
    const auto& names = dispatch_.configurations;
    return std::find(names.begin(), names.end(), all.configurations[i]) != names.end();
  };
  std::mt19937_64 random(XXH3_64bits(class_text_.data(), class_text_.size()) + shapes_.size());
  double most = std::log(1 + epsilon_);
  const auto problems = problems_of(dispatch_);
  std::vector<std::size_t> unchosen;
  for (std::size_t i = 0; i < all.configurations.size(); ++i)
    if (!chosen(i)) unchosen.push_back(i);
  std::optional<Probe> best;
  for (std::size_t draw = 0; draw < kRandomShapes; ++draw) {
    const auto problem = random_shape(problems, random);
    const auto& tried = tried_of(problem);
    const auto ms = all.predicted_ms(problem, multiprocessors);
    const auto choice = kernels::predict(dispatch_.rule.view(), problem, multiprocessors);
    std::vector<std::size_t> others;
    for (const auto i : unchosen)
      if (!tried.contains(all.configurations[i])) others.push_back(i);
    std::stable_sort(others.begin(), others.end(), [&](auto a, auto b) { return ms[a] < ms[b]; });
    if (others.empty() || std::log(choice.ms / ms[others.front()]) <= most) continue;
    most = std::log(choice.ms / ms[others.front()]);
    others.resize(std::min(others.size(), kRivalsOfProbe));
    std::vector<std::string> more;
    for (const auto i : others) more.push_back(all.configurations[i]);
    best = with_choices(ProbeKind::unlike_choice, problem, more);
  }
  return best;
}

std::optional<Probe> ProbedClass::left_out() const {
  for (const auto& entry : dispatch_.entries) {
    if (entry.left_out_choice.empty() || entry.left_out_regret) continue;
    if (!tried(entry.problem, entry.left_out_choice))
      return with_choices(ProbeKind::left_out, entry.problem, {entry.left_out_choice});
  }
  return std::nullopt;
}

void ProbedClass::add(const std::vector<Trial>& trials) {
  for (const auto& trial : trials) {
    tried_[kernels::to_text(trial.problem)].insert(trial.configuration);
    Session session;
    session.device = device_;
    trials_.push_back({trials_.back().id + 1, std::move(session), trial});
  }
  ++probes_;
  update();
}

void run_probes(std::vector<ProbedClass>& classes, RecordingEvaluator& evaluator, const ProbeCalls& calls) {
  for (bool found = true; found;) {
    found = false;
    for (auto& probed : classes) {
      const auto probe = probed.next();
      if (!probe) continue;
      if (!calls.may_start()) return;
      calls.starting(probed, *probe);
      std::vector<Candidate> candidates;
      for (const auto& configuration : probe->configurations)
        candidates.push_back(candidate_of(probe->problem, configuration));
      probed.add(evaluator.race(candidates, Phase::probe));
      found = true;
    }
  }
}

}  // namespace fcsa::tuner
