// What to try next. A strategy never sees the device: it is asked for configurations, by their position in
// the space, and told their times.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tuner/search/history.h"
#include "tuner/search/space.h"

namespace fcsa::tuner {

// How a strategy chooses, given what it knows. The strategies/ folder has one in each file.
class Method {
 public:
  virtual ~Method() = default;
  // A fresh position of the history's space. None: more search isn't worth its time. Precondition: there is a
  // fresh one.
  virtual std::optional<std::size_t> next(const History& history) = 0;
  // After each tell.
  virtual void told(const History&, std::size_t /*position*/) {}
  // Those of `cancellable`, which are pending, that it wouldn't ask for any more.
  virtual std::vector<std::size_t> unwanted(const History&, std::span<const std::size_t> /*cancellable*/) {
    return {};
  }
};

class Strategy {
 public:
  Strategy(const Space& space, std::unique_ptr<Method> method);

  // Up to `count` distinct positions that are neither told nor pending; they are pending from now on. Fewer
  // when the rest is told or pending, or more search isn't worth its time: then finished() says why.
  std::vector<std::size_t> ask(std::size_t count);
  // Time in ms, or nullopt when the configuration failed. Also of what it never asked for (the baseline,
  // trials of an earlier session). Told the same answers in the same order, and asked for as many in between,
  // it takes the same path. Throws std::out_of_range for a position beyond the space.
  void tell(std::size_t position, std::optional<double> time_ms);
  // Those of `cancellable` that it no longer wants measured; they are fresh again. Throws
  // std::invalid_argument for one that isn't pending.
  std::vector<std::size_t> cancel(std::span<const std::size_t> cancellable);

  const History& history() const { return history_; }
  // Why ask() gave fewer than asked for; empty as long as it didn't.
  const std::string& finished() const { return finished_; }

 private:
  std::optional<std::size_t> next_position();

  History history_;
  std::unique_ptr<Method> method_;
  std::string finished_;
};

// Throws std::invalid_argument listing the names there are.
void check_strategy_name(std::string_view name);
std::vector<std::string_view> strategy_names();

// One of strategy_names(). Throws std::invalid_argument listing them. Equal seeds give equal sequences for
// equal answers. The space must outlive the strategy.
std::unique_ptr<Strategy> make_strategy(std::string_view name, const Space& space, std::uint64_t seed);

}  // namespace fcsa::tuner
