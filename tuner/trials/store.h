// The tuning database: one SQLite file that keeps every trial with its provenance.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tuner/trials/evaluator.h"

namespace fcsa::tuner {

// What is wrong with the file and what to do: not a database, newer schema, locked for too long, disk full,
// read-only.
class StoreError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// For other processes that have the file locked.
struct Patience {
  std::chrono::milliseconds limit = std::chrono::seconds(10);
  // Asked when the limit is over, and every `again` after that: whether to wait on. Empty: no.
  std::function<bool(const std::filesystem::path& file, std::chrono::duration<double> waited)> wait_on = {};
  std::chrono::milliseconds again = std::chrono::milliseconds(100);
};

struct TrialFilter {
  std::optional<std::string> device_uuid;
  std::optional<Phase> phase;
  std::optional<Status> status;
};

struct StoreSummary {
  int schema_version = 0;
  std::size_t trials = 0, sessions = 0;
  std::size_t damaged =
      0;  // of the trials: without fields of their problem, which an older fcsa's merge lost
  // One for every combination of device, driver and compiler.
  struct PerDevice {
    kernels::DeviceInfo device;
    std::size_t trials = 0, problems = 0;
    std::string first_at, last_at;  // empty when there is no trial
  };
  std::vector<PerDevice> devices;
  std::vector<std::pair<std::string, std::size_t>> by_status;  // in the order of Status, those that occur
};

// Several processes may write one file at a time: rollback journal (TRUNCATE), synchronous=FULL, busy
// timeout, one short BEGIN IMMEDIATE transaction a trial or race. Each thread needs a Store of its own.
class Store final : public TrialSink {
 public:
  static constexpr int kSchemaVersion = 3;
  enum class Mode { read_only, read_write };

  // read_write creates the file and its folders, and migrates an older schema; read_only changes nothing,
  // except that it rolls back what a killed writer left half done. Every operation waits for other
  // processes as long as `patience` says. Throws StoreError, also from every function below; a file that is
  // refused is left as it was.
  Store(const std::filesystem::path& file, Mode mode, Patience patience = {});
  Store(const std::filesystem::path& file, Mode mode, std::chrono::milliseconds busy_timeout)
      : Store(file, mode, Patience{.limit = busy_timeout}) {}
  ~Store() override;
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;

  const std::filesystem::path& file() const;  // absolute

  // Trials recorded from now on belong to this session. StoreError in read_only mode.
  void begin_session(const Session& session);
  // StoreError in read_only mode; std::logic_error before begin_session.
  void record(std::span<const Trial> trials) override;
  void record(const Trial& trial) { record({&trial, 1}); }
  std::optional<Trial> find(const TrialKey& key) override;
  std::vector<StoredTrial> recorded() const override;

  std::vector<StoredTrial> trials(const TrialFilter& filter = {}) const;  // in order of id
  StoreSummary summary() const;
  // Copies what `other` has and this file has not (sessions by id, trials by session and content) in one
  // transaction; returns how many trials were added. Merging twice adds nothing.
  std::size_t merge(const Store& other);
  // The same for trials that are in no file. Equal ones count as often as they are listed.
  std::size_t merge(std::span<const StoredTrial> trials);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// $XDG_DATA_HOME/fcsa/tuning.db, or ~/.local/share/fcsa/tuning.db. StoreError when neither is set.
std::filesystem::path default_store_path();

}  // namespace fcsa::tuner
