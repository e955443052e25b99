// An open tuning database: settings, transactions, and errors that say what to do.
#pragma once

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <memory>
#include <span>
#include <stdexcept>
#include <utility>

#include <SQLiteCpp/SQLiteCpp.h>

#include "tuner/trials/store.h"
#include "tuner/trials/store_schema.h"

namespace fcsa::tuner {

// What SQLite asks when a file is locked.
class LockWait {
 public:
  LockWait(std::filesystem::path file, Patience patience)
      : file_(std::move(file)), patience_(std::move(patience)) {}

  void serve(SQLite::Database& database);
  // What was too long.
  std::chrono::duration<double> waited() const { return patience_.wait_on ? waited_ : patience_.limit; }

 private:
  // Whether to try again, after a moment; `attempts` have failed in a row.
  bool try_again(int attempts);

  std::filesystem::path file_;
  Patience patience_;
  std::chrono::steady_clock::time_point since_, ask_at_;
  std::chrono::duration<double> waited_{0};
};

class StoreConnection {
 public:
  StoreConnection(const std::filesystem::path& file, Store::Mode mode, Patience patience,
                  std::span<const Migration> steps = migrations());
  // For tests.
  StoreConnection(const std::filesystem::path& file, Store::Mode mode, std::chrono::milliseconds busy_timeout,
                  std::span<const Migration> steps = migrations())
      : StoreConnection(file, mode, Patience{.limit = busy_timeout}, steps) {}

  const std::filesystem::path& file() const { return file_; }

  // f(database) in a transaction that sees one state of the file. f may run twice; std::invalid_argument from
  // it means a record that can't be understood.
  template <typename F>
  auto read(F&& f) {
    try {
      return translated([&] {
        return recovered([&] {
          SQLite::Transaction transaction(*database_);
          return noted([&] { return f(*database_); });
        });
      });
    } catch (const std::invalid_argument& error) {
      fail_unreadable(error);
    }
  }

  // f(database) in one BEGIN IMMEDIATE transaction: all of it is on disk on return, nothing of it after an
  // exception.
  template <typename F>
  auto write(F&& f) {
    check_writable();
    return translated([&] {
      SQLite::Transaction transaction(*database_, SQLite::TransactionBehavior::IMMEDIATE);
      return noted([&] {
        auto result = f(*database_);
        transaction.commit();
        return result;
      });
    });
  }

 private:
  void open();
  void prepare(std::span<const Migration> steps);
  void migrate_copy_in_memory(std::span<const Migration> steps);
  void check_writable() const;
  void roll_back_journal() const;
  static bool is_half_done_write(const SQLite::Exception& error);
  [[noreturn]] void fail(const SQLite::Exception& error) const;
  [[noreturn]] void fail_unreadable(const std::exception& error) const;

  template <typename F>
  auto translated(F&& f) {
    try {
      return f();
    } catch (const SQLite::Exception& error) {
      fail(error);
    }
  }

  // Keeps the errno of a failure: SQLite doesn't report that of a failed commit, and the rollback may change
  // it.
  template <typename F>
  auto noted(F&& f) {
    errno = 0;
    try {
      return f();
    } catch (const SQLite::Exception&) {
      system_error_ = errno;
      throw;
    }
  }

  // A reader can't roll back the journal of a killed writer: a writer's connection does, then the reader goes
  // on.
  template <typename F>
  auto recovered(F&& f) {
    try {
      return f();
    } catch (const SQLite::Exception& error) {
      if (!is_half_done_write(error)) throw;
    }
    roll_back_journal();
    return f();
  }

  std::filesystem::path file_;
  Store::Mode mode_;
  std::unique_ptr<LockWait> wait_;  // SQLite keeps its address
  std::unique_ptr<SQLite::Database> database_;
  int system_error_ = 0;  // of the latest failure in a transaction
};

}  // namespace fcsa::tuner
