#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "cli/commands.h"
#include "cli/options.h"
#include "runner/source_check.h"
#include "tuner/dispatch.h"
#include "tuner/store.h"
#include "tuner/store_info.h"
#include "tuner/tuned_data.h"

namespace fcsa::cli {
namespace {

struct DbOptions {
  std::string db, format = "t4", out, device;
  std::vector<std::string> sources;
  bool json = false;
};

tuner::Store open(const DbOptions& options, tuner::Store::Mode mode) {
  return {options.db.empty() ? tuner::default_store_path() : std::filesystem::path(options.db), mode};
}

// To standard output, or to a file that appears whole or not at all.
void write_text(const std::string& text, const std::filesystem::path& file) {
  if (file.empty()) {
    fmt::print("{}", text);
    return;
  }
  const std::filesystem::path temporary = file.string() + ".tmp";
  std::ofstream stream(temporary, std::ios::binary);
  stream << text;
  stream.close();
  if (!stream) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw std::runtime_error(
        fmt::format("cannot write {}: check that the folder exists and has room", file.string()));
  }
  std::filesystem::rename(temporary, file);
}

void add_info(CLI::App& db, const std::shared_ptr<DbOptions>& options) {
  auto* command = db.add_subcommand("info", "Devices, trials and their states");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options] {
    const auto store = open(*options, tuner::Store::Mode::read_only);
    fmt::print("{}", options->json ? tuner::store_info_json(store) : tuner::describe_store(store));
  });
}

void add_export(CLI::App& db, const std::shared_ptr<DbOptions>& options) {
  auto* command = db.add_subcommand("export", "Every trial, as T4 JSON or CSV");
  command->add_option("--format", options->format, "t4 or csv")->capture_default_str();
  command->add_option("--out", options->out, "File to write [standard output]");
  command->callback([options] {
    if (options->format != "t4" && options->format != "csv")
      throw UsageError(fmt::format("--format: '{}' is not t4 or csv", options->format));
    const auto trials = open(*options, tuner::Store::Mode::read_only).trials();
    write_text(options->format == "t4" ? tuner::to_t4_json(trials) : tuner::to_csv(trials), options->out);
  });
}

std::string read_text(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  if (!stream)
    throw std::runtime_error(fmt::format("cannot read {}: check the path and its permissions", file));
  return std::move(text).str();
}

std::size_t merge(tuner::Store& store, const std::string& source) {
  if (!source.ends_with(".json")) return store.merge(tuner::Store(source, tuner::Store::Mode::read_only));
  try {
    return store.merge(tuner::trials_of_tuned_data(read_text(source)));
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(
        fmt::format("{} is no tuned data as `fcsa db ship` writes it: {}", source, error.what()));
  }
}

void add_merge(CLI::App& db, const std::shared_ptr<DbOptions>& options) {
  auto* command = db.add_subcommand("merge", "Adds the trials of other databases, each once");
  command->add_option("sources", options->sources, "Databases to read, or .json files of tuned data")
      ->required();
  command->callback([options] {
    auto store = open(*options, tuner::Store::Mode::read_write);
    for (const auto& source : options->sources)
      fmt::print("{}: {} trials added\n", source, merge(store, source));
  });
}

// The one that is wanted by its uuid or name; without a wish, of the only model that there is.
kernels::DeviceInfo device_to_ship(const tuner::StoreSummary& summary, const std::string& wanted) {
  std::vector<kernels::DeviceInfo> found;
  std::string known;
  for (const auto& row : summary.devices) {
    known += fmt::format("\n  {}  {}", row.device.uuid, row.device.name);
    if (!wanted.empty() && row.device.uuid != wanted && row.device.name != wanted) continue;
    const bool listed = std::any_of(found.begin(), found.end(), [&](const auto& device) {
      return tuner::same_model(device, row.device);
    });
    if (!listed) found.push_back(row.device);
  }
  if (found.size() == 1) return found.front();
  throw UsageError(fmt::format("--device: {} of the database to ship. It has:{}",
                               found.empty() ? "there is none such" : "name one", known));
}

void ship(const DbOptions& options) {
  const auto store = open(options, tuner::Store::Mode::read_only);
  const kernels::DeviceInfo device = device_to_ship(store.summary(), options.device);
  auto trials = store.trials();
  std::erase_if(trials,
                [&](const auto& stored) { return !tuner::same_model(stored.session.device, device); });
  const std::string name = options.out.empty() ? "FILE.json" : options.out;
  if (const auto stale = runner::stale_trials(trials); !stale.empty()) {
    fmt::print(stderr, "note: left out: {}", runner::how_to_renew(name, trials, stale));
    std::set<std::int64_t> ids;
    for (const auto* stored : stale) ids.insert(stored->id);
    std::erase_if(trials, [&](const auto& stored) { return ids.contains(stored.id); });
  }
  const auto shipped = tuner::trials_to_ship(trials, device);
  write_text(tuner::to_tuned_data(shipped), options.out);
  fmt::print(stderr, "{}: {} of {} trials of {}\n", name, shipped.size(), trials.size(), device.name);
}

void add_ship(CLI::App& db, const std::shared_ptr<DbOptions>& options) {
  auto* command = db.add_subcommand(
      "ship", "What a dispatch table needs of a device's trials, as text for the source tree (data/)");
  command->add_option("--device", options->device, "Its uuid or name [the only one]");
  command->add_option("--out", options->out, "File to write [standard output]");
  command->callback([options] {
    try {
      ship(*options);
    } catch (const std::invalid_argument& error) {
      throw std::runtime_error(error.what());
    }
  });
}

}  // namespace

void add_db(CLI::App& app, Context&) {
  auto* command = app.add_subcommand("db", "Looks into, exports and merges tuning databases");
  auto options = std::make_shared<DbOptions>();
  command->require_subcommand(1);
  command->fallthrough();
  command->add_option("--db", options->db, "Database [~/.local/share/fcsa/tuning.db]");
  add_info(*command, options);
  add_export(*command, options);
  add_merge(*command, options);
  add_ship(*command, options);
}

}  // namespace fcsa::cli
