#include "library/databases.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "runner/shipped_data.h"
#include "tuner/trials/store.h"

namespace fcsa::library {
namespace {

namespace fs = std::filesystem;

// A writer holds the file for milliseconds.
constexpr std::chrono::seconds kBusyTimeout{2};

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

std::optional<TunedTable> table_from(const fs::path& file, const kernels::DeviceInfo& device) {
  const auto trials = open(file).trials();
  try {
    return TunedTable{tuner::dispatch_table_for(trials, device), file.string()};
  } catch (const std::invalid_argument&) {
    return std::nullopt;  // of no device that is like it
  }
}

std::string instead(bool shipped) {
  return shipped
             ? "going on with the data shipped with fcsa, and with built-in defaults where that has nothing"
             : "going on with built-in defaults";
}

}  // namespace

Databases::Databases(const char* named, Notes& notes) : wanted_(named == nullptr || *named != '\0') {
  if (!wanted_) return;
  const auto own = named != nullptr ? std::optional<fs::path>(named) : users_file();
  const auto shipped = runner::shipped_database();
  for (const auto& file : {own, shipped}) {
    if (!file) continue;
    try {
      open(*file).summary();
      files_.push_back(fs::absolute(*file));
    } catch (const std::exception& error) {
      notes.say(fmt::format("{}; {}", error.what(), instead(file == own && shipped.has_value())));
      noted_ = true;
    }
  }
}

std::vector<TunedTable> Databases::tables_for(const kernels::DeviceInfo& device, Notes& notes) const {
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
