#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/tuned_store.h"
#include "tuner/emit.h"

namespace fcsa::cli {
namespace {

struct EmitOptions {
  std::string db, out = ".", device;
  double epsilon = 2.0;
};

// The devices of the database to emit for: all of them, or the one whose uuid or name is given. When several
// have the same header name (two GPUs of one architecture), the one with the newest trials wins, and the
// others are named.
std::vector<std::string> chosen_devices(const tuner::StoreSummary& summary, const std::string& wanted) {
  std::vector<std::string> uuids;
  std::string known;
  for (const auto& row : summary.devices) {
    known += fmt::format("\n  {}  {}", row.device.uuid, row.device.name);
    if (!wanted.empty() && row.device.uuid != wanted && row.device.name != wanted) continue;
    if (std::find(uuids.begin(), uuids.end(), row.device.uuid) == uuids.end())
      uuids.push_back(row.device.uuid);
  }
  if (!uuids.empty()) return uuids;
  if (known.empty()) throw std::runtime_error("the database has no trials yet: run `fcsa tune` first");
  throw UsageError(fmt::format("--device: no trials of '{}'. The database has:{}", wanted, known));
}

void emit(const EmitOptions& options) {
  if (!(options.epsilon >= 0 && options.epsilon < 100))
    throw UsageError(fmt::format("--epsilon: {} is not a percentage from 0 to 100", options.epsilon));
  const tuner::Store store = open_tuned_store(options.db, options.device);
  const auto trials = store.trials();
  std::map<std::string, tuner::DispatchTable> by_header;
  for (const auto& uuid : chosen_devices(store.summary(), options.device)) {
    auto table = tuner::make_dispatch_table(trials, uuid, options.epsilon / 100);
    const std::string name = tuner::header_name(table);
    const auto [place, added] = by_header.try_emplace(name, table);
    if (added) continue;
    fmt::print(stderr, "note: {} and {} share {}; use --device to choose. Taking the latter.\n",
               place->second.device.name, table.device.name, name);
    place->second = std::move(table);
  }
  for (const auto& [name, table] : by_header)
    fmt::print("wrote {}\n", tuner::emit_header(table, options.out).string());
}

}  // namespace

void add_emit(CLI::App& app, Context&) {
  auto* command = app.add_subcommand("emit", "Writes a tuned header for every device in the database");
  auto options = std::make_shared<EmitOptions>();
  command->add_option("--db", options->db, "Database [~/.local/share/fcsa/tuning.db]");
  command->add_option("--out", options->out, "Folder to write")->capture_default_str();
  command->add_option("--device", options->device,
                      "Only this device: its uuid or name, as `fcsa db info` prints it");
  command
      ->add_option("--epsilon", options->epsilon, "Percent of speed that may be given up for fewer kernels")
      ->capture_default_str();
  command->callback([options] { emit(*options); });
}

}  // namespace fcsa::cli
