#include "tuner/search/pending_queue.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/tuner/fake_family.h"

namespace fcsa::tuner {
namespace {

using testing::parameter;
using testing::ToyFamily;

ToyFamily forty_family() {
  return {"toy", {parameter("a", {1, 2, 3, 4, 5, 6, 7, 8}, 1), parameter("b", {1, 2, 3, 4, 5}, 1)}};
}

// Asks in order; wants nothing any more that is odd and can still be cancelled, from the third tell on.
class Recorder final : public Method {
 public:
  explicit Recorder(std::vector<std::size_t>& told) : told_(told) {}
  std::optional<std::size_t> next(const History& history) override {
    while (!history.fresh(next_ % history.space().size())) ++next_;
    return next_++ % history.space().size();
  }
  void told(const History&, std::size_t position) override { told_.push_back(position); }
  std::vector<std::size_t> unwanted(const History& history,
                                    std::span<const std::size_t> cancellable) override {
    std::vector<std::size_t> odd;
    if (history.told().size() != 3) return odd;
    std::copy_if(cancellable.begin(), cancellable.end(), std::back_inserter(odd),
                 [](std::size_t position) { return position % 2 == 1; });
    return odd;
  }

 private:
  std::vector<std::size_t>& told_;
  std::size_t next_ = 0;
};

struct Queued {
  explicit Queued(PendingQueue::Limits limits)
      : strategy(space, std::make_unique<Recorder>(told)), queue(strategy, limits) {}

  ToyFamily toy = forty_family();
  Space space{toy, {}, {}};
  std::vector<std::size_t> told;
  Strategy strategy;
  PendingQueue queue;
};

TEST(PendingQueue, KeepsAsManyPendingAsItMay) {
  Queued queued({.pending = 4});
  EXPECT_EQ(queued.queue.fill().asked, (std::vector<std::size_t>{0, 1, 2, 3}));
  EXPECT_EQ(queued.queue.measured(0, 1.0).asked, (std::vector<std::size_t>{4}));
  EXPECT_EQ(queued.queue.unmeasured(), (std::vector<std::size_t>{1, 2, 3, 4}));
}

TEST(PendingQueue, TellsInTheOrderAskedWhateverIsMeasuredFirst) {
  Queued queued({.pending = 4});
  queued.queue.fill();
  EXPECT_TRUE(queued.queue.measured(2, 1.0).asked.empty());  // 0 and 1 come first
  EXPECT_TRUE(queued.queue.measured(1, 1.0).asked.empty());
  EXPECT_TRUE(queued.told.empty());
  queued.queue.measured(0, std::nullopt);
  EXPECT_EQ(queued.told, (std::vector<std::size_t>{0, 1, 2}));
}

TEST(PendingQueue, CancelsOnlyTheLaterHalfAndAsksAnew) {
  Queued queued({.pending = 6});
  queued.queue.fill();
  queued.queue.measured(0, 1.0);
  queued.queue.measured(1, 1.0);
  const auto change = queued.queue.measured(2, 1.0);  // pending: 3 4 5, and 6 7 of the later half
  EXPECT_EQ(change.cancelled, (std::vector<std::size_t>{7}));
  EXPECT_EQ(queued.queue.cancelled(), 1u);
  EXPECT_EQ(queued.queue.unmeasured().size(), 6u);
  EXPECT_EQ(queued.queue.unmeasured().front(), 3u);
}

TEST(PendingQueue, AsksForNoMoreThanMayBeMeasuredInAll) {
  Queued queued({.pending = 4, .measured = 6});
  queued.queue.fill();
  std::size_t measured = 0;
  for (auto waiting = queued.queue.unmeasured(); !waiting.empty(); waiting = queued.queue.unmeasured()) {
    queued.queue.measured(waiting.back(), 1.0);
    ++measured;
  }
  EXPECT_EQ(measured, 6u);
}

}  // namespace
}  // namespace fcsa::tuner
