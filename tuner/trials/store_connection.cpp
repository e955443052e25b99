#include "tuner/trials/store_connection.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include <SQLiteCpp/Backup.h>
#include <fmt/format.h>
#include <sqlite3.h>

namespace fcsa::tuner {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kOtherFile =
    "choose another file with --db, or move this one away (it was left as it is)";

[[noreturn]] void refuse(const fs::path& file, std::string_view what_and_what_to_do) {
  throw StoreError(fmt::format("{}: {}", file.string(), what_and_what_to_do));
}

fs::path checked_path(const fs::path& file, Store::Mode mode) {
  if (file.empty()) throw StoreError("the tuning database has no file name: name one with --db FILE");
  fs::path path = fs::absolute(file).lexically_normal();
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status)) {
    refuse(path, "is a folder, not a tuning database: name a file in it with --db");
  }
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    refuse(path, fmt::format("is not a regular file: {}", kOtherFile));
  }
  if (fs::exists(status)) return path;
  if (mode == Store::Mode::read_only) {
    if (status.type() == fs::file_type::not_found) {
      refuse(path, "there is no such tuning database: create it with fcsa tune --db, or correct the path");
    }
    refuse(path, fmt::format("can't be opened ({}): correct the path or its permissions", error.message()));
  }
  fs::create_directories(path.parent_path(), error);
  if (error) {
    refuse(path,
           fmt::format("its folder can't be created ({}): choose another place with --db", error.message()));
  }
  return path;
}

bool out_of_space(int code, int system_error) {
  return code == SQLITE_FULL || system_error == ENOSPC || system_error == EDQUOT || system_error == EFBIG;
}

// SQLite doesn't say why it couldn't open a file; the permissions do in most cases.
std::string cannot_open_reason(const fs::path& file) {
  std::error_code ignored;
  const bool unreadable = fs::exists(file, ignored) && access(file.c_str(), R_OK) != 0;
  if (unreadable || access(file.parent_path().c_str(), W_OK | X_OK) != 0) return std::strerror(errno);
  return "SQLite gives no reason";
}

std::string read_only_text(int extended_code) {
  if (extended_code == SQLITE_READONLY_DBMOVED) {
    return "was moved or deleted while it was open; trials recorded since are not in it: put it back, or "
           "start again";
  }
  if (extended_code == SQLITE_READONLY_DIRECTORY) {
    return "its folder is read-only, and SQLite must create a journal beside the file: make the folder "
           "writable, or copy the file elsewhere and name it with --db";
  }
  if (extended_code == SQLITE_READONLY_ROLLBACK) {
    return "a writer was killed in the middle of a write, and undoing that needs write permission: open it "
           "once as a user who may write to it, or copy it together with its -journal file to a writable "
           "folder";
  }
  return "is read-only: make it writable, or choose another file with --db";
}

std::string error_text(const fs::path& file, const SQLite::Exception& error, int system_error,
                       std::chrono::duration<double> waited) {
  switch (error.getErrorCode() & 0xff) {
    case SQLITE_NOTADB:
      return fmt::format("is not a tuning database (not a SQLite file): {}", kOtherFile);
    case SQLITE_CORRUPT:
      return fmt::format(
          "is damaged ({}): restore a copy, or save what is readable with `sqlite3 FILE .recover | "
          "sqlite3 NEW`; it was left as it is",
          error.what());
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return fmt::format(
          "another process has kept it locked for more than {:.3g} s: wait for that process or end it, "
          "or use a file of its own with --db and join them later with fcsa db merge",
          waited.count());
    case SQLITE_READONLY:
      return read_only_text(error.getExtendedErrorCode());
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return fmt::format("can't be opened ({}): correct the path, or its permissions and those of its folder",
                         cannot_open_reason(file));
    case SQLITE_IOERR:
      return fmt::format(
          "can't be read or written ({}{}{}): check the disk, or choose another file with --db", error.what(),
          system_error != 0 ? ", " : "", system_error != 0 ? std::strerror(system_error) : "");
    default:
      return fmt::format("SQLite refused ({}, code {})", error.what(), error.getExtendedErrorCode());
  }
}

}  // namespace

void LockWait::serve(SQLite::Database& database) {
  sqlite3_busy_handler(
      database.getHandle(),
      [](void* self, int attempts) { return static_cast<LockWait*>(self)->try_again(attempts) ? 1 : 0; },
      this);
}

bool LockWait::try_again(int attempts) {
  const auto now = std::chrono::steady_clock::now();
  if (attempts == 0) {
    since_ = now;
    ask_at_ = now + patience_.limit;
  }
  waited_ = now - since_;
  if (now >= ask_at_) {
    if (!patience_.wait_on || !patience_.wait_on(file_, waited_)) return false;
    ask_at_ = now + patience_.again;
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(std::min(1 + attempts, 50)));
  return true;
}

StoreConnection::StoreConnection(const fs::path& file, Store::Mode mode, Patience patience,
                                 std::span<const Migration> steps)
    : file_(checked_path(file, mode)),
      mode_(mode),
      wait_(std::make_unique<LockWait>(file_, std::move(patience))) {
  translated([&] {
    noted([&] {
      open();
      prepare(steps);
    });
  });
}

void StoreConnection::open() {
  const int flags =
      mode_ == Store::Mode::read_only ? SQLite::OPEN_READONLY : SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE;
  database_ = std::make_unique<SQLite::Database>(file_.string(), flags);
  wait_->serve(*database_);
}

void StoreConnection::prepare(std::span<const Migration> steps) {
  const Schema schema = recovered([&] { return read_schema(*database_, steps); });
  switch (schema.state) {
    case SchemaState::foreign:
      refuse(file_, fmt::format("is a SQLite database, but not one of fcsa's: {}", kOtherFile));
    case SchemaState::newer:
      refuse(file_, fmt::format("was written by a newer fcsa (schema {}, this one knows {}): upgrade fcsa",
                                schema.version, steps.back().version));
    case SchemaState::empty:
      if (mode_ == Store::Mode::read_only) {
        refuse(file_, "is empty: nothing was tuned into it; run fcsa tune --db");
      }
      break;
    case SchemaState::older:
    case SchemaState::current:
      break;
  }
  if (mode_ == Store::Mode::read_only) {
    if (schema.state == SchemaState::older) migrate_copy_in_memory(steps);
    return;
  }
  check_writable();
  database_->exec("PRAGMA journal_mode = TRUNCATE");
  database_->exec("PRAGMA synchronous = FULL");
  database_->exec("PRAGMA foreign_keys = ON");
  if (schema.state != SchemaState::current) migrate(*database_, steps);
}

void StoreConnection::migrate_copy_in_memory(std::span<const Migration> steps) {
  auto copy = std::make_unique<SQLite::Database>(":memory:", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  if (SQLite::Backup(*copy, *database_).executeStep() != SQLITE_DONE) {
    throw SQLite::Exception("database is locked", SQLITE_BUSY);
  }
  migrate(*copy, steps);
  database_ = std::move(copy);
}

void StoreConnection::check_writable() const {
  if (mode_ == Store::Mode::read_only)
    refuse(file_, "was opened for reading only: nothing can be recorded in it");
  // SQLite opens a write-protected file for reading and would only say so at the first write.
  if (sqlite3_db_readonly(database_->getHandle(), "main") == 1)
    refuse(file_, read_only_text(SQLITE_READONLY));
}

void StoreConnection::roll_back_journal() const {
  SQLite::Database writer(file_.string(), SQLite::OPEN_READWRITE);
  wait_->serve(writer);
  writer.execAndGet("PRAGMA user_version");
}

bool StoreConnection::is_half_done_write(const SQLite::Exception& error) {
  return error.getExtendedErrorCode() == SQLITE_READONLY_ROLLBACK;
}

void StoreConnection::fail(const SQLite::Exception& error) const {
  const int code = error.getErrorCode() & 0xff;
  const int system_error = code == SQLITE_IOERR ? system_error_ : 0;
  if (out_of_space(code, system_error)) {
    refuse(file_,
           "the disk is full (or a quota or a limit on file sizes is reached); trials recorded before are "
           "safe: free space, or choose a file on another disk with --db");
  }
  refuse(file_, error_text(file_, error, system_error, wait_->waited()));
}

void StoreConnection::fail_unreadable(const std::exception& error) const {
  refuse(
      file_,
      fmt::format("holds a record that this fcsa can't read ({}): was it edited by hand, or written by a "
                  "newer fcsa? Without it the others can be read: `sqlite3 FILE 'delete from trials where id "
                  "= ...'`; it was left as it is",
                  error.what()));
}

}  // namespace fcsa::tuner
