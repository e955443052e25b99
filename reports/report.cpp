#include "reports/report.h"

#include <fmt/format.h>

#include <stdexcept>
#include <system_error>

#include "reports/gnuplot.h"
#include "reports/html.h"
#include "reports/tables.h"
#include "reports/workload_costs.h"
#include "tuner/trials/whole_file.h"

namespace fcsa::reports {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void cannot_write(const fs::path& path, const std::string& why) {
  throw std::runtime_error(
      fmt::format("cannot write the report to {}: {}; choose another folder with --out", path.string(), why));
}

fs::path write_file(const fs::path& directory, const char* name, std::string_view text) {
  fs::path path = directory / name;
  try {
    tuner::write_whole_file(path, text);
  } catch (const std::system_error& error) {
    cannot_write(path, error.code().message());
  }
  return path;
}

void make_directory(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) cannot_write(directory, error.message());
  if (!fs::is_directory(directory, error)) cannot_write(directory, "it is not a folder");
}

std::vector<std::string> data_notes(const std::vector<DeviceResults>& devices, const Peers* peers) {
  if (devices.empty()) return {"The database holds no trials yet: run fcsa tune first."};
  std::vector<std::string> notes;
  for (const DeviceResults& results : devices) {
    std::size_t unconfirmed = 0, unsolved = 0;

    for (const Point& point : results.points) {
      const Entry& tuned = point.of(Role::tuned);
      unsolved += tuned.measured() ? 0 : 1;
      unconfirmed += tuned.measured() && !tuned.confirmed ? 1 : 0;
    }
    const std::string problems = count_text(results.points.size(), "problem", "problems");
    if (unconfirmed > 0) {
      notes.push_back(
          fmt::format("{}: {} of {} not confirmed (the tuning was interrupted): shown from the search, "
                      "without speed-ups. Run the same fcsa tune again to finish.",
                      results.label, unconfirmed, problems));
    }
    if (unsolved > 0) {
      notes.push_back(
          fmt::format("{}: nothing worked on {} of {}; see Failures.", results.label, unsolved, problems));
    }
  }
  if (peers == nullptr) return notes;
  if (std::string note = left_out_note(*peers, devices); !note.empty()) notes.push_back(std::move(note));
  return notes;
}

std::vector<Plot> all_plots(const std::vector<std::vector<FigureRow>>& figures) {
  std::vector<Plot> plots;
  for (const auto& rows : figures) {
    for (const FigureRow& row : rows) {
      for (const Figure& figure : row) plots.push_back(figure.plot);
    }
  }
  return plots;
}

}  // namespace

ReportResult write_report(const std::vector<tuner::StoredTrial>& trials, const fs::path& directory,
                          const ReportOptions& options) {
  make_directory(directory);
  const std::vector<DeviceResults> devices = collect(trials);
  const std::vector<Section> sections = make_sections(devices);
  Page page{.devices = devices,
            .sections = sections,
            .figures = {},
            .svgs = {},
            .notes = data_notes(devices, options.peers),
            .more = ""};
  std::vector<DevicePeaks> peaks = options.peaks;
  for (DevicePeaks& known : known_peaks()) peaks.push_back(std::move(known));
  for (const Section& section : sections)
    page.figures.push_back(make_figures(section, devices, peaks, options.peers));
  RenderedPlots rendered = render_plots(all_plots(page.figures));
  page.svgs = std::move(rendered.svgs);
  if (!rendered.problem.empty())
    page.notes.push_back("There are no plots, only tables: " + rendered.problem + ".");

  std::string summary = summary_markdown(sections, devices, page.notes);
  std::vector<WorkloadCosts> costs;
  if (options.workload != nullptr) {
    costs = workload_costs(*options.workload, devices);
    page.more = workload_html(*options.workload, costs);
    summary += workload_markdown(*options.workload, costs);
  }

  ReportResult result;
  result.files.push_back(write_file(directory, "index.html", page_html(page)));
  result.files.push_back(write_file(directory, "summary.md", summary));
  result.files.push_back(write_file(directory, "speed.csv", speed_csv(devices)));
  result.files.push_back(write_file(directory, "memory.csv", memory_csv(devices)));
  if (options.workload != nullptr)
    result.files.push_back(write_file(directory, "workload.csv", workload_csv(costs)));
  result.notes = page.notes;
  return result;
}

}  // namespace fcsa::reports
