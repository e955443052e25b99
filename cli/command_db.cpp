#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "cli/commands.h"
#include "cli/options.h"
#include "tuner/store.h"
#include "tuner/store_info.h"

namespace fcsa::cli {
namespace {

struct DbOptions {
  std::string db, format = "t4", out;
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

void add_merge(CLI::App& db, const std::shared_ptr<DbOptions>& options) {
  auto* command = db.add_subcommand("merge", "Adds the trials of other databases, each once");
  command->add_option("sources", options->sources, "Databases to read")->required();
  command->callback([options] {
    auto store = open(*options, tuner::Store::Mode::read_write);
    for (const auto& source : options->sources) {
      const tuner::Store other(source, tuner::Store::Mode::read_only);
      fmt::print("{}: {} trials added\n", source, store.merge(other));
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
}

}  // namespace fcsa::cli
