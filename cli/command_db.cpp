#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/patience.h"
#include "cli/say.h"
#include "cli/shared_options.h"
#include "runner/compile/kernel_code.h"
#include "runner/compile/source_check.h"
#include "tuner/dispatch/dispatch.h"
#include "tuner/dispatch/shipping.h"
#include "tuner/trials/store.h"
#include "tuner/trials/store_export.h"
#include "tuner/trials/store_info.h"
#include "tuner/trials/tuned_data.h"
#include "tuner/trials/whole_file.h"

namespace fcsa::cli {
namespace {

struct DbOptions {
  std::string db, format = "t4", out, device, file, codes;
  std::vector<std::string> sources;
  int jobs = 0;
  bool json = false;
};

tuner::Store open(const DbOptions& options, tuner::Store::Mode mode) {
  return {options.db.empty() ? tuner::default_store_path() : std::filesystem::path(options.db), mode,
          patience()};
}

// To standard output, or to a file that appears whole or not at all.
void write_text(const std::string& text, const std::filesystem::path& file) {
  if (file.empty()) {
    fmt::print("{}", text);
    return;
  }
  try {
    tuner::write_whole_file(file, text);
  } catch (const std::system_error& error) {
    throw std::runtime_error(fmt::format("cannot write {}: {}; check that the folder exists and has room",
                                         file.string(), error.code().message()));
  }
}

void add_info(CLI::App& db, const std::shared_ptr<DbOptions>& options) {
  auto* command = db.add_subcommand("info", "Devices, trials and their states");
  add_json_option(*command, options->json);
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

std::vector<tuner::StoredTrial> tuned_data(const std::string& file) {
  try {
    return tuner::trials_of_tuned_data(read_text(file));
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(
        fmt::format("{} is no tuned data as `fcsa db ship` writes it: {}", file, error.what()));
  }
}

std::size_t merge(tuner::Store& store, const std::string& source) {
  if (!source.ends_with(".json"))
    return store.merge(tuner::Store(source, tuner::Store::Mode::read_only, patience()));
  return store.merge(tuned_data(source));
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
    say("note: left out: {}", runner::how_to_renew(name, trials, stale));
    std::set<std::int64_t> ids;
    for (const auto* stored : stale) ids.insert(stored->id);
    std::erase_if(trials, [&](const auto& stored) { return ids.contains(stored.id); });
  }
  const auto shipped = tuner::trials_to_ship(trials, device);
  write_text(tuner::to_tuned_data(shipped), options.out);
  say("{}: {} of {} trials of {}\n", name, shipped.size(), trials.size(), device.name);
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

std::vector<runner::KernelCode> compile(const std::vector<tuner::StoredTrial>& trials,
                                        const DbOptions& options) {
  runner::CompileOnlyOptions compile_options;
  compile_options.executable = executable_path();
  compile_options.compile_jobs = options.jobs;
  return runner::kernel_codes(trials, compile_options);
}

// Returns how many kernels have no code.
std::size_t print_codes(const DbOptions& options) {
  const auto trials = options.file.ends_with(".json")
                          ? tuned_data(options.file)
                          : tuner::Store(options.file, tuner::Store::Mode::read_only, patience()).trials();
  std::string lines;
  std::size_t failed = 0, measured = 0;
  const auto codes = compile(trials, options);
  for (const auto& code : codes) {
    lines += runner::to_json(code) + "\n";
    measured += code.measured();
    if (code.error.empty()) continue;
    ++failed;
    say("{} {} {}: {}\n", code.arch, code.problem_class, code.configuration, code.error);
  }
  write_text(lines, options.out);
  say("{}: {} kernels, {} of them measured with this build's source, {} failed\n", options.file, codes.size(),
      measured, failed);
  return failed;
}

void add_codes(CLI::App& db, const std::shared_ptr<DbOptions>& options, Context& context) {
  auto* command = db.add_subcommand(
      "codes",
      "Compiles the kernels of a database's CUDA trials with NVRTC, without a GPU: hashes of their machine "
      "code, one JSON object a line, for `fcsa db restamp` of another build");
  command->add_option("file", options->file, "Database, or .json file of tuned data")->required();
  command->add_option("--out", options->out, "File to write [standard output]");
  add_jobs_option(*command, options->jobs);
  command->callback([options, &context] {
    if (print_codes(*options) > 0) context.exit_status = 1;
  });
}

std::vector<runner::KernelCode> read_codes(const std::string& file) {
  try {
    return runner::kernel_codes_from_json(read_text(file));
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(fmt::format("{} is not what `fcsa db codes` writes: {}", file, error.what()));
  }
}

// Returns how many trials are stale still.
std::size_t restamp(const DbOptions& options) {
  const auto before = read_codes(options.codes);
  const auto trials = tuned_data(options.file);
  const auto result = runner::restamp(trials, before, compile(trials, options));
  if (result.restamped > 0) write_text(tuner::to_tuned_data(result.trials), options.file);
  const std::size_t stale = trials.size() - result.valid - result.restamped;
  fmt::print("{}: {} of {} trials restamped, {} were valid already, {} are stale\n", options.file,
             result.restamped, trials.size(), result.valid, stale);
  for (const auto& [problem_class, configuration, reason, count] : result.stale)
    fmt::print("  {} of {} {}: {}\n", count, problem_class, configuration, reason);
  return stale;
}

void add_restamp(CLI::App& db, const std::shared_ptr<DbOptions>& options, Context& context) {
  auto* command =
      db.add_subcommand("restamp",
                        "Tuned data that is stale by the text of its kernels only: gives this build's source "
                        "hash to the trials "
                        "whose machine code is what the build with the former sources made. Without a GPU");
  command
      ->add_option("--codes", options->codes,
                   "What `fcsa db codes` of the build with the former sources wrote about the same file")
      ->required();
  command->add_option("file", options->file, "File of tuned data (.json), changed in place")->required();
  add_jobs_option(*command, options->jobs);
  command->callback([options, &context] {
    if (restamp(*options) > 0) context.exit_status = 1;
  });
}

}  // namespace

void add_db(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("db", "Looks into, exports, merges and ships tuning databases");
  auto options = std::make_shared<DbOptions>();
  command->require_subcommand(1);
  command->fallthrough();
  add_db_option(*command, options->db);
  add_info(*command, options);
  add_export(*command, options);
  add_merge(*command, options);
  add_ship(*command, options);
  add_codes(*command, options, context);
  add_restamp(*command, options, context);
}

}  // namespace fcsa::cli
