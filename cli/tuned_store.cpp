#include "cli/tuned_store.h"
#include "cli/patience.h"
#include "cli/say.h"

#include <fmt/format.h>

#include <algorithm>

#include "runner/shipped_data.h"

namespace fcsa::cli {
namespace {

bool has_trials(const tuner::Store& store, const std::string& device) {
  const auto rows = store.summary().devices;
  return std::any_of(rows.begin(), rows.end(), [&](const auto& row) {
    return row.trials > 0 && (device.empty() || row.device.uuid == device || row.device.name == device);
  });
}

}  // namespace

tuner::Store open_tuned_store(const std::string& named, const std::string& device) {
  using tuner::Store;
  const auto file = named.empty() ? tuner::default_store_path() : std::filesystem::path(named);
  const auto shipped = named.empty() ? runner::shipped_database() : std::nullopt;
  if (!shipped) return {file, Store::Mode::read_only, patience()};
  if (std::filesystem::exists(file)) {
    Store own(file, Store::Mode::read_only, patience());
    if (has_trials(own, device) || !has_trials({*shipped, Store::Mode::read_only, patience()}, device))
      return own;
  }
  say("note: {} has no trials{}: taking the data that is shipped with fcsa, {}\n", file.string(),
      device.empty() ? "" : " of " + device, shipped->string());
  return {*shipped, Store::Mode::read_only, patience()};
}

}  // namespace fcsa::cli
