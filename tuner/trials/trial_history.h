// What was tried on one model of device: which trials a decision may rest on, by class, by shape, the latest.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tuner/trials/trial.h"

namespace fcsa::tuner {

// Devices whose trials can be pooled: the same silicon and as many multiprocessors, whatever the uuid.
bool same_model(const kernels::DeviceInfo& a, const kernels::DeviceInfo& b);

using TrialList = std::vector<const StoredTrial*>;  // in order of time

// Those of each shape (kernels::to_text).
std::map<std::string, TrialList> by_shape(const TrialList& trials);
// Of the configuration on the problem: of the latest race that it took part in, else the latest. Null when
// there is none.
const StoredTrial* latest(const TrialList& trials, const kernels::Problem& problem,
                          const std::string& configuration);

// Refers to the trials that it was made from.
class TrialHistory {
 public:
  // Of the device and others of its model.
  TrialHistory(const std::vector<StoredTrial>& trials, const kernels::DeviceInfo& device);

  // All of them, and those that succeeded and may be used: without refreshes (two races of different
  // environments can't be compared), configurations that this build doesn't know, whose source has changed
  // since, that gave a wrong result on any shape of the class, or that failed in a refresh and weren't tuned
  // since.
  const TrialList& all() const { return all_; }
  const TrialList& usable() const { return usable_; }
  // The usable ones of each class (kernels::class_text); none for a class that has none.
  const std::map<std::string, TrialList>& by_class() const { return by_class_; }
  const TrialList& of_class(const std::string& class_text) const;

 private:
  TrialList all_, usable_;
  std::map<std::string, TrialList> by_class_;
};

}  // namespace fcsa::tuner
