#include "tuner/search/pending_queue.h"

#include <algorithm>

namespace fcsa::tuner {

PendingQueue::PendingQueue(Strategy& strategy, Limits limits) : strategy_(strategy), limits_(limits) {}

PendingQueue::Change PendingQueue::fill() {
  Change change;
  ask(change);
  return change;
}

std::vector<std::size_t> PendingQueue::unmeasured() const {
  std::vector<std::size_t> left;
  for (const auto position : asked_)
    if (!measured_.contains(position)) left.push_back(position);
  return left;
}

PendingQueue::Change PendingQueue::measured(std::size_t position, std::optional<double> time_ms) {
  Change change;
  measured_[position] = time_ms;
  while (!asked_.empty() && measured_.contains(asked_.front())) {
    const std::size_t front = asked_.front();
    asked_.pop_front();
    strategy_.tell(front, measured_.extract(front).mapped());
    ++told_;
    cancel(change);
    ask(change);
  }
  return change;
}

void PendingQueue::cancel(Change& change) {
  const std::size_t kept = (limits_.pending + 1) / 2;
  if (asked_.size() <= kept) return;
  const std::vector<std::size_t> latest(asked_.begin() + static_cast<std::ptrdiff_t>(kept), asked_.end());
  for (const auto position : strategy_.cancel(latest)) {
    asked_.erase(std::find(asked_.begin(), asked_.end(), position));
    measured_.erase(position);
    change.cancelled.push_back(position);
    std::erase(change.asked, position);
    ++cancelled_;
  }
}

void PendingQueue::ask(Change& change) {
  const std::size_t most = std::min(std::max<std::size_t>(limits_.pending, 1), limits_.measured - told_);
  if (asked_.size() >= most) return;
  for (const auto position : strategy_.ask(most - asked_.size())) {
    asked_.push_back(position);
    change.asked.push_back(position);
  }
}

}  // namespace fcsa::tuner
