// After the search: measurements that make a dispatch table good on shapes that weren't tuned.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tuner/dispatch/dispatch.h"
#include "tuner/trials/recording.h"

namespace fcsa::tuner {

// What a probe is for. every_choice: configurations of the class that weren't measured on a tuned shape.
// break_point: between two tuned shapes with different winners. unlike_choice: a shape where the rule expects
// more of a configuration outside of the table than of those in it. left_out: what a table without the shape
// would choose, to know its price.
enum class ProbeKind { every_choice, break_point, unlike_choice, left_out };
std::string_view to_text(ProbeKind kind);

struct Probe {
  ProbeKind kind = ProbeKind::every_choice;
  kernels::Problem problem;
  std::vector<std::string> configurations;  // raced; what is measured already takes part for comparison
};

// What is known of a class while it is probed.
class ProbedClass {
 public:
  // Of the trials those of the class, on the device or another of its model, count. None need be.
  ProbedClass(std::string class_text, const std::vector<StoredTrial>& trials,
              const kernels::DeviceInfo& device, double epsilon);

  // Nothing when there was no successful trial.
  const DispatchClass* dispatch() const { return shapes_.empty() ? nullptr : &dispatch_; }
  const std::string& class_text() const { return class_text_; }
  std::size_t probes() const { return probes_; }

  // The next worth its time; none when there is nothing left to gain. Never the same configuration on the
  // same shape twice.
  std::optional<Probe> next() const;
  void add(const std::vector<Trial>& trials);  // of a probe

 private:
  void update();
  bool tried(const kernels::Problem& problem, const std::string& configuration) const;
  const std::set<std::string>& tried_of(const kernels::Problem& problem) const;
  Probe with_choices(ProbeKind kind, const kernels::Problem& problem,
                     const std::vector<std::string>& more) const;
  bool foresees() const;
  std::optional<Probe> every_choice() const;
  std::optional<Probe> break_point() const;
  std::optional<Probe> unlike_choice() const;
  std::optional<Probe> left_out() const;

  std::string class_text_;
  kernels::DeviceInfo device_;
  double epsilon_;
  std::vector<StoredTrial> trials_;
  std::vector<ShapeTimes> shapes_;
  DispatchClass dispatch_;
  std::map<std::string, std::set<std::string>> tried_;  // configurations, by problem
  std::size_t probes_ = 0;
};

// One probe of each class in turn, for as long as there are any and may_start() allows it; starting() is told
// before each.
struct ProbeCalls {
  std::function<bool()> may_start;
  std::function<void(const ProbedClass&, const Probe&)> starting;
};
void run_probes(std::vector<ProbedClass>& classes, RecordingEvaluator& evaluator, const ProbeCalls& calls);

}  // namespace fcsa::tuner
