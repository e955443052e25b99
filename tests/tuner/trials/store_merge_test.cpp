#include <filesystem>

#include <gtest/gtest.h>

#include "tests/tuner/trials/store_records.h"
#include "tuner/trials/store.h"

namespace fcsa::tuner {
namespace {

class StoreMerge : public ::testing::Test {
 protected:
  Store open(const std::string& name = "tuning.db", Store::Mode mode = Store::Mode::read_write) {
    return {folder_ / name, mode};
  }

  TemporaryFolder folder_;
};

TEST_F(StoreMerge, MergesOnceHoweverOftenItIsAsked) {
  Store target = open("target.db");
  target.begin_session(make_session("here"));
  target.record(make_trial(1));
  Store source = open("source.db");
  source.begin_session(make_session("there"));
  for (const int number : {1, 2, 2}) source.record(make_trial(number));  // two are equal, and both count

  EXPECT_EQ(target.merge(source), 3u);
  EXPECT_EQ(target.merge(source), 0u);
  EXPECT_EQ(source.merge(target), 1u);
  EXPECT_EQ(target.merge(source), 0u);
  EXPECT_EQ(target.trials().size(), 4u);
  EXPECT_EQ(target.summary().sessions, 2u);
}

TEST_F(StoreMerge, MergesTrialsThatAreInNoFile) {
  Store source = open("source.db");
  source.begin_session(make_session("there"));
  for (const int number : {1, 2, 2}) source.record(make_trial(number));
  Store target = open("target.db");
  EXPECT_EQ(target.merge(source.trials()), 3u);
  EXPECT_EQ(target.merge(source.trials()), 0u);
  EXPECT_EQ(target.merge(source), 0u);
}

TEST_F(StoreMerge, MergesOnlyWhatIsNewInASharedSession) {
  Store first = open("first.db");
  first.begin_session(make_session("shared"));
  first.record(make_trial(1));
  std::filesystem::copy_file(folder_ / "first.db", folder_ / "second.db");
  Store second = open("second.db");
  second.begin_session(make_session("shared"));
  second.record(make_trial(2));
  EXPECT_EQ(first.merge(second), 1u);
  EXPECT_EQ(first.trials().size(), 2u);
}

TEST_F(StoreMerge, MergesDevicesWithoutMixingThem) {
  Store target = open("target.db");
  target.begin_session(make_session("s1", "GPU-1"));
  target.record(make_trial());
  Store source = open("source.db");
  source.begin_session(make_session("s2", "GPU-2"));
  source.record(make_trial());
  EXPECT_EQ(target.merge(source), 1u);
  const auto merged = target.trials({.device_uuid = "GPU-2", .phase = {}, .status = {}});
  ASSERT_EQ(merged.size(), 1u);
  EXPECT_EQ(all_fields(merged[0].session), all_fields(make_session("s2", "GPU-2")));
  EXPECT_EQ(all_fields(merged[0].trial), all_fields(make_trial()));
}

TEST_F(StoreMerge, MergingAFileIntoItselfAddsNothing) {
  Store store = open();
  store.begin_session(make_session("s1"));
  store.record(make_trial());
  EXPECT_EQ(store.merge(open("tuning.db", Store::Mode::read_only)), 0u);
  EXPECT_EQ(store.merge(store), 0u);
}

}  // namespace
}  // namespace fcsa::tuner
