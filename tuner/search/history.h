// What a search knows: the times it was told, and what it has asked for and not been told yet.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <unordered_map>
#include <vector>

#include "tuner/search/space.h"

namespace fcsa::tuner {

// Positions count the configurations of the space, which must outlive this.
class History {
 public:
  explicit History(const Space& space) : space_(&space) {}

  struct Told {
    std::size_t position;
    double log_time;  // of milliseconds; infinite when it failed

    bool failed() const;
  };

  const Space& space() const { return *space_; }
  const std::vector<Told>& told() const { return told_; }               // each once, in the order told
  const std::vector<std::size_t>& pending() const { return pending_; }  // in the order asked
  const std::optional<Told>& best() const { return best_; }             // of those that succeeded
  // How many were told when the best last improved by a noteworthy part (0.1%).
  std::size_t improved_after() const { return improved_after_; }
  // 1 when the best hasn't improved for long: for three times as many as it took to find it, and for at least
  // 300. In proportion before.
  double patience_used() const;
  // Logarithm of the time told, infinite when it failed; nullopt when it wasn't told.
  std::optional<double> log_time(std::size_t position) const;
  bool fresh(std::size_t position) const { return !states_.contains(position); }  // neither told nor pending
  std::size_t fresh_count() const { return space_->size() - states_.size(); }
  // Precondition: there is one.
  std::size_t random_fresh(std::mt19937_64& random) const;

  void ask(std::size_t position);     // becomes pending. Precondition: fresh
  void cancel(std::size_t position);  // becomes fresh. Precondition: pending
  // Told twice, the later time counts.
  void tell(std::size_t position, std::optional<double> time_ms);

 private:
  void note_best(const Told& told);

  const Space* space_;
  std::vector<Told> told_;
  std::vector<std::size_t> pending_;
  std::unordered_map<std::size_t, std::optional<std::size_t>> states_;  // index in told_; none when pending
  std::optional<Told> best_;
  std::size_t improved_after_ = 0;
};

}  // namespace fcsa::tuner
