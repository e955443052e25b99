#include <fmt/format.h>

#include "cli/commands.h"
#include "reports/report.h"

namespace fcsa::cli {

void add_report(CLI::App& app, Context&) {
  struct Options {
    std::string db, out = "report";
  };
  auto* command = app.add_subcommand("report", "Writes speed and memory tables and plots");
  auto options = std::make_shared<Options>();
  command->add_option("--db", options->db, "Database [~/.local/share/fcsa/tuning.db]");
  command->add_option("--out", options->out, "Folder to write")->capture_default_str();
  command->callback([options] {
    const auto file = options->db.empty() ? tuner::default_store_path() : std::filesystem::path(options->db);
    const tuner::Store store(file, tuner::Store::Mode::read_only);
    const reports::ReportResult result = reports::write_report(store.trials(), options->out);
    for (const auto& written : result.files) fmt::print("wrote {}\n", written.string());
    for (const auto& note : result.notes) fmt::print("note: {}\n", note);
  });
}

}  // namespace fcsa::cli
