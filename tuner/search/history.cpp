#include "tuner/search/history.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fcsa::tuner {
namespace {

constexpr double kNoteworthy = 0.001;
constexpr std::size_t kPatience = 300;

}  // namespace

bool History::Told::failed() const {
  return std::isinf(log_time);
}

double History::patience_used() const {
  if (!best_) return 0;
  const std::size_t patience = std::max(kPatience, 3 * improved_after_);
  return static_cast<double>(told_.size() - improved_after_) / static_cast<double>(patience);
}

std::optional<double> History::log_time(std::size_t position) const {
  const auto state = states_.find(position);
  if (state == states_.end() || !state->second) return std::nullopt;
  return told_[*state->second].log_time;
}

std::size_t History::random_fresh(std::mt19937_64& random) const {
  std::size_t position = random() % space_->size();
  while (!fresh(position)) position = (position + 1) % space_->size();
  return position;
}

void History::ask(std::size_t position) {
  states_[position] = std::nullopt;
  pending_.push_back(position);
}

void History::cancel(std::size_t position) {
  states_.erase(position);
  pending_.erase(std::find(pending_.begin(), pending_.end(), position));
}

void History::tell(std::size_t position, std::optional<double> time_ms) {
  const Told told{position, time_ms ? std::log(*time_ms) : std::numeric_limits<double>::infinity()};
  const auto [state, fresh] = states_.try_emplace(position, std::nullopt);
  if (!fresh && !state->second) pending_.erase(std::find(pending_.begin(), pending_.end(), position));
  if (state->second) {
    told_[*state->second] = told;
  } else {
    state->second = told_.size();
    told_.push_back(told);
  }
  if (!told.failed()) note_best(told);
}

void History::note_best(const Told& told) {
  if (best_ && told.log_time >= best_->log_time) return;
  if (!best_ || best_->log_time - told.log_time >= kNoteworthy) improved_after_ = told_.size();
  best_ = told;
}

}  // namespace fcsa::tuner
