#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "cli/commands.h"
#include "cli/emit_kernels.h"
#include "cli/options.h"
#include "cli/say.h"
#include "cli/sessions.h"
#include "cli/shared_options.h"
#include "cli/tuned_store.h"
#include "tuner/emit/emit.h"

namespace fcsa::cli {
namespace {

struct EmitOptions {
  std::string db, out = ".", device, format = "header";
  double epsilon = 2.0;
  bool cubin = false, tuned_only = false;
};

// The devices of the database to emit for: all of them, or the one whose uuid or name is given.
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

tuner::Format format_of(const EmitOptions& options) {
  if (options.format == "header") return tuner::Format::header;
  if (options.format == "json") return tuner::Format::json;
  throw UsageError(fmt::format("--format: '{}' is neither header nor json", options.format));
}

tuner::Emission emission_for(const std::string& uuid, const std::vector<tuner::StoredTrial>& trials,
                             const EmitOptions& options) {
  tuner::Emission emission;
  emission.table = tuner::make_dispatch_table(trials, uuid, options.epsilon / 100);
  emission.plan = tuner::plan_emission(emission.table,
                                       options.tuned_only ? tuner::Serve::tuned : tuner::Serve::neighbours);
  emission.provenance = tuner::provenance_of(emission.table, trials);
  emission.command = command_line();
  return emission;
}

void keep(tuner::Emission emission, std::map<std::string, tuner::Emission>& by_name,
          const EmitOptions& options) {
  const std::string name = std::filesystem::path(tuner::emitted_name(emission, format_of(options))).stem();
  const auto [place, added] = by_name.try_emplace(name, emission);
  tuner::Emission& other = place->second;
  if (added || tuner::same_model(other.table.device, emission.table.device)) return;
  if (other.provenance.last_at < emission.provenance.last_at) std::swap(other, emission);
  fmt::print(
      stderr,
      "note: {} and {} share {}: this is of the former, which was tuned last; use --device to choose\n",
      other.table.device.name, emission.table.device.name, name);
}

// One for each file name: of several models of GPU with one architecture the one that was tuned last. Devices
// that there is nothing to emit for are left out, with a note, as long as there is another.
std::vector<tuner::Emission> emissions(const EmitOptions& options, const tuner::Store& store) {
  const auto trials = store.trials();
  std::map<std::string, tuner::Emission> by_name;
  std::string left_out;
  for (const auto& uuid : chosen_devices(store.summary(), options.device)) {
    try {
      keep(emission_for(uuid, trials, options), by_name, options);
    } catch (const std::exception& error) {
      left_out += fmt::format("{}{}", left_out.empty() ? "" : "; ", error.what());
    }
  }
  if (by_name.empty()) throw std::runtime_error(left_out);
  if (!left_out.empty()) say("note: {}\n", left_out);
  std::vector<tuner::Emission> list;
  for (auto& [name, emission] : by_name) list.push_back(std::move(emission));
  return list;
}

void complete(tuner::Emission& emission, const EmitOptions& options) {
  const auto comparison = compare_sources(emission);
  emission.sources = comparison.value_or("not compared with what was measured: no compiler was there");
  if (comparison && comparison->starts_with("changed"))
    say("note: {}: kernel sources {}\n", emission.table.device.name, *comparison);
  if (!options.cubin) return;
  if (emission.table.device.target.kind == kernels::DeviceKind::cuda) return compile_variants(emission);
  say("note: --cubin: {} is no GPU; its kernels are emitted as source\n", emission.table.device.name);
}

void emit(const EmitOptions& options) {
  if (!(options.epsilon >= 0 && options.epsilon < 100))
    throw UsageError(fmt::format("--epsilon: {} is not a percentage from 0 to 100", options.epsilon));
  const tuner::Format format = format_of(options);
  const tuner::Store store = open_tuned_store(options.db, options.device);
  for (auto& emission : emissions(options, store)) {
    complete(emission, options);
    fmt::print("wrote {}\n", tuner::emit(emission, format, options.out).string());
  }
}

}  // namespace

void add_emit(CLI::App& app, Context&) {
  auto* command = app.add_subcommand(
      "emit", "Writes a tuned header, or the table as JSON, for every device in the database");
  auto options = std::make_shared<EmitOptions>();
  add_db_option(*command, options->db);
  command->add_option("--out", options->out, "Folder to write")->capture_default_str();
  command->add_option("--device", options->device,
                      "Only this device: its uuid or name, as `fcsa db info` prints it");
  command
      ->add_option("--epsilon", options->epsilon, "Percent of speed that may be given up for fewer kernels")
      ->capture_default_str();
  command
      ->add_option("--format", options->format, "header, or json: the table for programs in other languages")
      ->capture_default_str();
  command->add_flag("--cubin", options->cubin,
                    "GPU kernels as binaries, compiled now with NVRTC: no nvcc is needed to use them");
  command->add_flag("--tuned-only", options->tuned_only,
                    "Only the problems that were tuned, without those next to them");
  command->callback([options] { emit(*options); });
}

}  // namespace fcsa::cli
