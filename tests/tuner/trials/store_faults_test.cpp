#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <memory>
#include <random>
#include <set>

#include <SQLiteCpp/SQLiteCpp.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include "tests/tuner/trials/store_fixture.h"

namespace fcsa::tuner {
namespace {

class StoreFaults : public StoreFixture {
 protected:
  // A writer that is killed after some of its pages reached the file, so that only its journal can undo them.
  void kill_a_writer_half_way() {
    Child child([&](int) {
      SQLite::Database database(file_.string(), SQLite::OPEN_READWRITE);
      database.exec(
          "PRAGMA journal_mode = TRUNCATE; PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN IMMEDIATE");
      database.exec("UPDATE trials SET message = hex(randomblob(3000)), source_hash = 'half done'");
      ::kill(getpid(), SIGKILL);
    });
    ASSERT_TRUE(WIFSIGNALED(child.wait()));
    ASSERT_GT(std::filesystem::file_size(file_.string() + "-journal"), 0u);
  }
};

TEST_F(StoreFaults, SeveralProcessesLoseNothing) {
  constexpr int kProcesses = 4;
  constexpr int kTrials = 10;
  {
    std::vector<std::unique_ptr<Child>> children;
    children.reserve(kProcesses);
    for (int process = 0; process < kProcesses; ++process) {
      children.push_back(std::make_unique<Child>([&](int) {
        Store store(file_, Mode::read_write);
        store.begin_session(make_session("p" + std::to_string(process)));
        for (int i = 0; i < kTrials; ++i) store.record(make_trial(process * kTrials + i));
      }));
    }
    for (auto& child : children) EXPECT_EQ(child->read(), "");
  }
  std::set<std::string> hashes;
  for (const auto& stored : Store(file_, Mode::read_only).trials()) hashes.insert(stored.trial.source_hash);
  EXPECT_EQ(hashes.size(), std::size_t{kProcesses} * kTrials);
}

TEST_F(StoreFaults, KeepsEveryTrialAfterKillMinusNine) {
  constexpr int kRounds = 12;
  std::mt19937 random(7);
  std::set<std::string> acknowledged;
  for (int round = 0; round < kRounds; ++round) {
    Child child([&](int pipe) {
      Store store(file_, Mode::read_write);
      store.begin_session(make_session("r" + std::to_string(round)));
      for (int i = 0;; ++i) {
        const Trial trial = make_trial(round * 100000 + i);
        store.record(trial);
        dprintf(pipe, "%s\n", trial.source_hash.c_str());
      }
    });
    const std::string lines = child.read_then_kill(random() % 8, std::chrono::microseconds(random() % 5000));
    child.wait();
    for (std::size_t at = 0, end = 0; (end = lines.find('\n', at)) != std::string::npos; at = end + 1) {
      acknowledged.insert(lines.substr(at, end - at));
    }
    Store next(file_, Mode::read_write, std::chrono::milliseconds(0));  // no wait: no lock may be left
    next.begin_session(make_session("after"));
    std::set<std::string> kept;
    for (const auto& stored : next.trials()) kept.insert(stored.trial.source_hash);
    EXPECT_TRUE(std::includes(kept.begin(), kept.end(), acknowledged.begin(), acknowledged.end())) << round;
    SQLite::Database database(file_.string());
    EXPECT_EQ(database.execAndGet("PRAGMA integrity_check").getString(), "ok");
    EXPECT_FALSE(SQLite::Statement(database, "PRAGMA foreign_key_check").executeStep());
  }
  EXPECT_GT(acknowledged.size(), 10u);
}

TEST_F(StoreFaults, AReaderUndoesWhatAKilledWriterLeftHalfDone) {
  fill(15);
  kill_a_writer_half_way();
  const auto trials = Store(file_, Mode::read_only).trials();
  ASSERT_EQ(trials.size(), 15u);
  for (const auto& stored : trials) EXPECT_NE(stored.trial.source_hash, "half done");
}

TEST_F(StoreFaults, AnOpenReaderGoesOnAfterAWriterIsKilled) {
  fill(15);
  const Store reader(file_, Mode::read_only);
  EXPECT_EQ(reader.trials().size(), 15u);
  kill_a_writer_half_way();
  const auto trials = reader.trials();
  ASSERT_EQ(trials.size(), 15u);
  EXPECT_EQ(trials[5].trial.source_hash, "hash5");
}

TEST_F(StoreFaults, AReaderWithoutWritePermissionSaysHowToUndoAHalfDoneWrite) {
  fill(15);
  kill_a_writer_half_way();
  chmod(file_.c_str(), 0444);
  chmod((file_.string() + "-journal").c_str(), 0444);
  expect_contains(as_ordinary_user([&] { Store(file_, Mode::read_only); }),
                  "killed in the middle of a write");
}

TEST_F(StoreFaults, FullDiskIsAnErrorAndLosesNothing) {
  fill(3);
  // A limit on the pages of every database opened from now on, as a full disk would set it.
  const auto limit_pages = +[](sqlite3* database, char**, const sqlite3_api_routines*) {
    return sqlite3_exec(database, "PRAGMA max_page_count = 20", nullptr, nullptr, nullptr);
  };
  const auto extension = reinterpret_cast<void (*)()>(limit_pages);
  ASSERT_EQ(sqlite3_auto_extension(extension), SQLITE_OK);
  std::string message;
  std::size_t recorded = 0;
  {
    Store store(file_, Mode::read_write);
    store.begin_session(make_session("full"));
    message = error_of([&] {
      for (;; ++recorded) store.record(make_trial(static_cast<int>(recorded)));
    });
    EXPECT_EQ(store.trials().size(), 3 + recorded);
  }
  sqlite3_cancel_auto_extension(extension);
  expect_contains(message, file_.string());
  expect_contains(message, "disk is full");

  Store store(file_, Mode::read_write);  // space again
  store.begin_session(make_session("later"));
  store.record(make_trial());
  EXPECT_EQ(store.trials().size(), 4 + recorded);
}

TEST_F(StoreFaults, ARaceIsRecordedWholeOrNotAtAllWhenTheDiskIsFull) {
  constexpr std::size_t kContenders = 7;
  fill(0);
  Child child([&](int) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{80000, 80000};
    setrlimit(RLIMIT_FSIZE, &limit);
    Store store(file_, Mode::read_write);
    store.begin_session(make_session("limited"));
    std::vector<Trial> race;
    for (int i = 0;; ++i) {
      race.clear();
      for (std::size_t k = 0; k < kContenders; ++k) race.push_back(make_trial(i));
      store.record(race);
    }
  });
  expect_contains(child.read(), "disk is full");
  const std::size_t recorded = Store(file_, Mode::read_write).trials().size();
  EXPECT_GT(recorded, 0u);
  EXPECT_EQ(recorded % kContenders, 0u);
}

TEST_F(StoreFaults, FileSizeLimitIsAnErrorAndLosesNothing) {
  fill(3);
  Child child([&](int pipe) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{80000, 80000};
    setrlimit(RLIMIT_FSIZE, &limit);
    Store store(file_, Mode::read_write);
    store.begin_session(make_session("limited"));
    for (int i = 0;; ++i) {
      store.record(make_trial(i));
      dprintf(pipe, ".");
    }
  });
  const std::string said = child.read();
  expect_contains(said, "disk is full");
  const std::size_t recorded = said.find('/');  // a dot each, then the message that begins with the path
  EXPECT_EQ(Store(file_, Mode::read_write).trials().size(), 3 + recorded);
}

}  // namespace
}  // namespace fcsa::tuner
