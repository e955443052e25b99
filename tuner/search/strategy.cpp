#include "tuner/search/strategy.h"

#include <algorithm>
#include <stdexcept>

namespace fcsa::tuner {

Strategy::Strategy(const Space& space, std::unique_ptr<Method> method)
    : history_(space), method_(std::move(method)) {}

std::vector<std::size_t> Strategy::ask(std::size_t count) {
  std::vector<std::size_t> asked;
  while (asked.size() < count) {
    const auto next = next_position();
    if (!next) break;
    history_.ask(*next);
    asked.push_back(*next);
  }
  return asked;
}

std::optional<std::size_t> Strategy::next_position() {
  if (history_.fresh_count() == 0) {
    finished_ = "every configuration was tried";
    return std::nullopt;
  }
  const auto next = method_->next(history_);
  if (!next) finished_ = "more search isn't worth its time";
  if (next && !history_.fresh(*next))
    throw std::logic_error("a strategy asked for a configuration that is told or pending");
  return next;
}

void Strategy::tell(std::size_t position, std::optional<double> time_ms) {
  if (position >= history_.space().size()) throw std::out_of_range("told of a position beyond the space");
  history_.tell(position, time_ms);
  method_->told(history_, position);
}

std::vector<std::size_t> Strategy::cancel(std::span<const std::size_t> cancellable) {
  const auto& pending = history_.pending();
  for (const auto position : cancellable)
    if (std::find(pending.begin(), pending.end(), position) == pending.end())
      throw std::invalid_argument("only what is pending can be cancelled");
  auto unwanted = method_->unwanted(history_, cancellable);
  for (const auto position : unwanted) history_.cancel(position);
  return unwanted;
}

}  // namespace fcsa::tuner
