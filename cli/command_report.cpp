#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/patience.h"
#include "cli/problem_source.h"
#include "cli/shared_options.h"
#include "reports/report.h"

namespace fcsa::cli {
namespace {

std::string text_of(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream) throw std::invalid_argument(fmt::format("cannot read {}: {}", file, std::strerror(errno)));
  return text;
}

// What `read` makes of it, whose complaints are about an option.
template <typename Read>
auto of_option(const char* option, Read read) {
  try {
    return read();
  } catch (const std::invalid_argument& error) {
    throw UsageError(fmt::format("{}: {}", option, error.what()));
  }
}

}  // namespace

void add_report(CLI::App& app, Context&) {
  struct Options {
    std::string db, out = "report", peaks, peers, problems;
  };
  auto* command = app.add_subcommand("report", "Writes speed and memory tables and plots");
  auto options = std::make_shared<Options>();
  add_db_option(*command, options->db);
  command->add_option("--out", options->out, "Folder to write")->capture_default_str();
  command->add_option("--peaks", options->peaks,
                      "Peaks of devices that fcsa doesn't know, for the roofline: JSON as in "
                      "reports/known_peaks.json");
  command->add_option("--peers", options->peers,
                      "compare.csv of python -m flash_cosine_sim_attention.compare: lines of other "
                      "implementations in the figures of speed, time and memory");
  command->add_option(
      "--problems", options->problems,
      "A workload, recorded with FCSA_RECORD or written, or the name of one that ships: what it takes with "
      "what was tuned, and what each shape is expected to lose");
  command->callback([options] {
    reports::ReportOptions report;
    std::optional<tuner::Workload> workload;
    if (!options->problems.empty()) {
      workload =
          of_option("--problems", [&] { return tuner::read_workload(workload_path(options->problems)); });
      report.workload = &*workload;
    }
    if (!options->peaks.empty())
      report.peaks = of_option(
          "--peaks", [&] { return reports::peaks_from_json(text_of(options->peaks), options->peaks); });
    std::optional<reports::Peers> peers;
    if (!options->peers.empty()) {
      peers = of_option("--peers",
                        [&] { return reports::peers_from_csv(text_of(options->peers), options->peers); });
      report.peers = &*peers;
    }
    const auto file = options->db.empty() ? tuner::default_store_path() : std::filesystem::path(options->db);
    const tuner::Store store(file, tuner::Store::Mode::read_only, patience());
    const reports::ReportResult result = reports::write_report(store.trials(), options->out, report);
    for (const auto& written : result.files) fmt::print("wrote {}\n", written.string());
    for (const auto& note : result.notes) fmt::print("note: {}\n", note);
  });
}

}  // namespace fcsa::cli
