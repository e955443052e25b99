#include "tuner/trials/store_connection.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>

#include <SQLiteCpp/SQLiteCpp.h>
#include <gtest/gtest.h>

#include "tests/tuner/trials/store_fixture.h"

namespace fcsa::tuner {
namespace {

class StoreConnectionTest : public StoreFixture {};

TEST_F(StoreConnectionTest, RefusesAFileThatIsNotADatabase) {
  const std::string bytes(5000, 'x');
  write_bytes(file_, bytes);
  for (const Mode mode : {Mode::read_only, Mode::read_write}) {
    const std::string message = error_of([&] { Store(file_, mode); });
    expect_contains(message, file_.string());
    expect_contains(message, "not a SQLite file");
    expect_contains(message, "--db");
  }
  EXPECT_EQ(read_bytes(file_), bytes);
}

TEST_F(StoreConnectionTest, RefusesATruncatedDatabase) {
  fill(5);
  const std::string whole = read_bytes(file_);
  for (const std::size_t kept :
       {std::size_t{50}, std::size_t{1000}, std::size_t{4096}, whole.size() - 4096}) {
    write_bytes(file_, whole.substr(0, kept));
    for (const Mode mode : {Mode::read_only, Mode::read_write}) {
      expect_contains(error_of([&] { Store(file_, mode).trials(); }), file_.string());
    }
    EXPECT_EQ(read_bytes(file_), whole.substr(0, kept)) << kept;
  }
}

TEST_F(StoreConnectionTest, SaysThatADamagedDatabaseIsDamaged) {
  fill(20);
  std::string bytes = read_bytes(file_);
  std::fill(bytes.begin() + 4096, bytes.end(), '\x5a');
  write_bytes(file_, bytes);
  expect_contains(error_of([&] { Store(file_, Mode::read_only).trials(); }), ".recover");
  EXPECT_EQ(read_bytes(file_), bytes);
}

TEST_F(StoreConnectionTest, RefusesADatabaseOfAnotherProgram) {
  SQLite::Database(file_.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE)
      .exec("CREATE TABLE songs (title)");
  const std::string bytes = read_bytes(file_);
  for (const Mode mode : {Mode::read_only, Mode::read_write}) {
    expect_contains(error_of([&] { Store(file_, mode); }), "is a SQLite database, but not one of fcsa's");
  }
  EXPECT_EQ(read_bytes(file_), bytes);
}

TEST_F(StoreConnectionTest, RefusesANewerSchema) {
  fill(1);
  SQLite::Database(file_.string(), SQLite::OPEN_READWRITE).exec("PRAGMA user_version = 999");
  const std::string bytes = read_bytes(file_);
  for (const Mode mode : {Mode::read_only, Mode::read_write}) {
    expect_contains(error_of([&] { Store(file_, mode); }),
                    fmt::format("was written by a newer fcsa (schema 999, this one knows {}): upgrade fcsa",
                                Store::kSchemaVersion));
  }
  EXPECT_EQ(read_bytes(file_), bytes);
}

TEST_F(StoreConnectionTest, RefusesAFolderAndASpecialFile) {
  const std::filesystem::path fifo = folder_ / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  for (const Mode mode : {Mode::read_only, Mode::read_write}) {
    expect_contains(error_of([&] { Store(folder_.path(), mode); }), "is a folder");
    expect_contains(error_of([&] { Store(fifo, mode); }), "is not a regular file");
    expect_contains(error_of([&] { Store("", mode); }), "no file name");
  }
}

TEST_F(StoreConnectionTest, ReadingAMissingOrEmptyFileSaysHowToMakeOne) {
  expect_contains(error_of([&] { Store(file_, Mode::read_only); }), "fcsa tune");
  EXPECT_FALSE(std::filesystem::exists(file_));
  write_bytes(file_, "");
  expect_contains(error_of([&] { Store(file_, Mode::read_only); }), "is empty");
  EXPECT_EQ(Store(file_, Mode::read_write).trials().size(), 0u);
}

TEST_F(StoreConnectionTest, RefusesAPathThroughAFile) {
  write_bytes(folder_ / "file", "text");
  expect_contains(error_of([&] { Store(folder_ / "file/tuning.db", Mode::read_write); }), "can't be created");
}

TEST_F(StoreConnectionTest, RefusesAFolderWithoutWritePermission) {
  chmod(folder_.path().c_str(), 0555);
  const std::string message = as_ordinary_user([&] { Store(file_, Mode::read_write); });
  expect_contains(message, file_.string());
  expect_contains(message, "can't be opened");
  expect_contains(message, "Permission denied");
  expect_contains(as_ordinary_user([&] { Store(folder_ / "new/tuning.db", Mode::read_write); }),
                  "can't be created");
}

TEST_F(StoreConnectionTest, RefusesToWriteToAReadOnlyFile) {
  fill(1);
  chmod(file_.c_str(), 0444);
  const std::string bytes = read_bytes(file_);
  expect_contains(as_ordinary_user([&] { Store(file_, Mode::read_write); }), "is read-only");
  EXPECT_EQ(as_ordinary_user([&] { Store(file_, Mode::read_only).trials(); }), "");
  EXPECT_EQ(read_bytes(file_), bytes);
}

TEST_F(StoreConnectionTest, ReadsFromAReadOnlyFolder) {
  fill(2);
  std::filesystem::remove(file_.string() + "-journal");
  chmod(file_.c_str(), 0666);
  chmod(folder_.path().c_str(), 0555);
  EXPECT_EQ(as_ordinary_user([&] {
              if (Store(file_, Mode::read_only).trials().size() != 2) throw std::runtime_error("lost trials");
            }),
            "");
  const std::string message =
      as_ordinary_user([&] { Store(file_, Mode::read_write).begin_session(make_session("s")); });
  expect_contains(message, "folder");
}

TEST_F(StoreConnectionTest, RefusesToRecordWhenOpenedForReading) {
  fill(1);
  Store store(file_, Mode::read_only);
  expect_contains(error_of([&] { store.begin_session(make_session("s")); }), "for reading only");
  expect_contains(error_of([&] { store.record(make_trial()); }), "for reading only");
  expect_contains(error_of([&] { store.merge(Store(file_, Mode::read_only)); }), "for reading only");
}

TEST_F(StoreConnectionTest, SaysSoWhenTheFileStaysLocked) {
  fill(1);
  Store store(file_, Mode::read_write, std::chrono::milliseconds(50));
  store.begin_session(make_session("s"));
  SQLite::Database other(file_.string(), SQLite::OPEN_READWRITE);
  {
    const SQLite::Transaction held(other, SQLite::TransactionBehavior::EXCLUSIVE);
    expect_contains(error_of([&] { store.record(make_trial()); }), "locked for more than 0.05 s");
    expect_contains(error_of([&] { store.trials(); }), "locked");
    expect_contains(error_of([&] { Store(file_, Mode::read_only, std::chrono::milliseconds(50)); }),
                    "locked");
  }
  store.record(make_trial());
  EXPECT_EQ(store.trials().size(), 2u);
}

TEST_F(StoreConnectionTest, SaysSoWhenTheFileWasMovedAway) {
  Store store(file_, Mode::read_write);
  store.begin_session(make_session("s"));
  std::filesystem::rename(file_, folder_ / "moved.db");
  expect_contains(error_of([&] { store.record(make_trial()); }), "was moved or deleted");
}

TEST_F(StoreConnectionTest, AHandEditedRecordIsNamedAndNotMisread) {
  fill(1);
  SQLite::Database(file_.string(), SQLite::OPEN_READWRITE).exec("UPDATE trials SET status = 'splendid'");
  const Store store(file_, Mode::read_only);
  expect_contains(error_of([&] { store.trials(); }), "splendid");
}

}  // namespace
}  // namespace fcsa::tuner
