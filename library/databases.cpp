#include "library/databases.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <tuple>
#include <utility>

#include "runner/dynamic_library.h"

namespace fcsa::library {
namespace {

namespace fs = std::filesystem;
using kernels::DeviceInfo;

// A writer holds the file for milliseconds.
constexpr std::chrono::seconds kBusyTimeout{2};

constexpr const char* kShippedName = "tuned.db";

// In share/fcsa beside lib, lib/x86_64-linux-gnu or bin, which this code is in; else where it was to be
// installed.
std::optional<fs::path> shipped_file() {
  std::vector<fs::path> folders;
  if (const fs::path own = runner::folder_of_this_code(); !own.empty())
    for (const auto& prefix : {own.parent_path(), own.parent_path().parent_path()})
      folders.push_back(prefix / "share" / "fcsa");
  folders.emplace_back(FCSA_DATA_FOLDER);
  for (const auto& folder : folders) {
    std::error_code ignored;
    if (fs::is_regular_file(folder / kShippedName, ignored)) return folder / kShippedName;
  }
  return std::nullopt;
}

std::optional<fs::path> users_file() {
  if (const char* variable = std::getenv("FCSA_DB"); variable != nullptr && *variable != '\0')
    return variable;
  try {
    fs::path file = tuner::default_store_path();
    std::error_code ignored;
    if (fs::exists(file, ignored)) return file;
  } catch (const tuner::StoreError&) {
    // No home, so nothing of the user's.
  }
  return std::nullopt;
}

tuner::Store open(const fs::path& file) {
  return {file, tuner::Store::Mode::read_only, kBusyTimeout};
}

// Smaller is more alike; nothing when its measurements say nothing about `device`.
std::optional<std::tuple<bool, bool, int>> distance(const DeviceInfo& measured, const DeviceInfo& device) {
  if (measured.target.kind != device.target.kind || measured.target.arch != device.target.arch)
    return std::nullopt;
  return std::tuple(measured.uuid != device.uuid, measured.name != device.name,
                    std::abs(measured.target.multiprocessors - device.target.multiprocessors));
}

std::optional<DeviceInfo> most_alike(const tuner::StoreSummary& summary, const DeviceInfo& device) {
  std::optional<DeviceInfo> best;
  for (const auto& candidate : summary.devices) {
    const auto away = distance(candidate.device, device);
    if (away && (!best || *away < *distance(*best, device))) best = candidate.device;
  }
  return best;
}

std::optional<TunedTable> table_from(const fs::path& file, const DeviceInfo& device) {
  const tuner::Store store = open(file);
  const auto measured = most_alike(store.summary(), device);
  if (!measured) return std::nullopt;
  tuner::TrialFilter of_that_device;
  of_that_device.device_uuid = measured->uuid;
  try {
    TunedTable tuned{tuner::make_dispatch_table(store.trials(of_that_device), measured->uuid), file.string()};
    if (measured->uuid != device.uuid)
      tuned.source += fmt::format(", measured on another {} ({} multiprocessors)", measured->name,
                                  measured->target.multiprocessors);
    return tuned;
  } catch (const std::invalid_argument&) {
    return std::nullopt;  // no trial of that device succeeded
  }
}

std::string instead(bool shipped) {
  return shipped
             ? "going on with the data shipped with fcsa, and with built-in defaults where that has nothing"
             : "going on with built-in defaults";
}

}  // namespace

Databases::Databases(const char* named, Notes& notes) {
  if (named != nullptr && *named == '\0') return;
  const auto own = named != nullptr ? std::optional<fs::path>(named) : users_file();
  const auto shipped = shipped_file();
  for (const auto& file : {own, shipped}) {
    if (!file) continue;
    try {
      open(*file).summary();
      files_.push_back(fs::absolute(*file));
    } catch (const std::exception& error) {
      notes.say(fmt::format("{}; {}", error.what(), instead(file == own && shipped.has_value())));
    }
  }
}

std::vector<TunedTable> Databases::tables_for(const DeviceInfo& device, Notes& notes) const {
  std::vector<TunedTable> tables;
  for (const auto& file : files_) {
    try {
      if (auto tuned = table_from(file, device)) tables.push_back(std::move(*tuned));
    } catch (const tuner::StoreError& error) {
      notes.say(fmt::format("{}; going on without it", error.what()));
    }
  }
  return tables;
}

}  // namespace fcsa::library
