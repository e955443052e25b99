#include "reports/report.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "kernels/problem.h"
#include "tests/reports/fabricated.h"
#include "tests/reports/parsing.h"

namespace fcsa::reports {
namespace {

namespace fs = std::filesystem;
using fabricated::baseline;
using fabricated::Database;
using fabricated::failed;
using fabricated::gpu;
using fabricated::problem;
using fabricated::took;
using fabricated::unfused;
using fabricated::variant;
using tuner::Status;
using Rows = std::vector<std::map<std::string, std::string>>;

std::string read(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

std::size_t occurrences(const std::string& text, const std::string& what) {
  std::size_t count = 0;
  for (std::size_t at = text.find(what); at != text.npos; at = text.find(what, at + what.size())) ++count;
  return count;
}

bool contains(const std::string& text, const std::string& what) {
  return text.find(what) != text.npos;
}

class Report : public testing::Test {
 protected:
  Report() {
    std::string pattern = (fs::temp_directory_path() / "fcsa-report-test-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
  }
  ~Report() override {
    unsetenv("FCSA_GNUPLOT");
    fs::remove_all(directory_);
  }

  // Writes a report, checks that the page is well-formed and returns it.
  std::string page(const std::vector<tuner::StoredTrial>& trials) {
    result_ = write_report(trials, directory_ / "report");
    const std::string html = read(directory_ / "report/index.html");
    EXPECT_EQ(parsing::html_fault(html), "");
    return html;
  }
  Rows csv(const char* name) { return parsing::read_csv(read(directory_ / "report" / name)); }
  std::string summary() { return read(directory_ / "report/summary.md"); }
  static bool have_gnuplot() { return std::system("gnuplot --version >/dev/null 2>&1") == 0; }  // NOLINT

  const std::map<std::string, std::string>& row(const Rows& rows, const std::string& role, int length) {
    for (const auto& candidate : rows) {
      if (candidate.at("role") == role && candidate.at("nk") == std::to_string(length)) return candidate;
    }
    throw std::logic_error("no row for " + role);
  }

  fs::path directory_;
  ReportResult result_;
};

TEST_F(Report, OfAnEmptyDatabaseSaysHowToTune) {
  const std::string html = page({});
  EXPECT_TRUE(contains(html, "fcsa tune"));
  EXPECT_TRUE(csv("speed.csv").empty());
  EXPECT_TRUE(csv("memory.csv").empty());
  EXPECT_EQ(result_.files.size(), 4U);
  EXPECT_EQ(result_.notes.size(), 1U);
}

TEST_F(Report, WritesTheNumbersThatWereMeasured) {
  page(Database(gpu()).tuned(problem(1024)).trials());
  const Rows rows = csv("speed.csv");
  ASSERT_EQ(rows.size(), 3U);
  const auto& tuned = row(rows, "tuned", 1024);
  EXPECT_EQ(tuned.at("configuration"), variant(gpu(), 1));
  EXPECT_EQ(tuned.at("device"), gpu().name);
  EXPECT_EQ(tuned.at("driver"), gpu().driver);
  EXPECT_EQ(tuned.at("dtype"), "f32");
  EXPECT_EQ(tuned.at("head_dim"), "64");
  EXPECT_EQ(tuned.at("batch"), "16");
  EXPECT_EQ(tuned.at("heads"), "32");
  EXPECT_EQ(tuned.at("causal"), "no");
  EXPECT_EQ(tuned.at("cache"), "warm");
  EXPECT_EQ(tuned.at("confirmed"), "yes");
  EXPECT_EQ(tuned.at("samples"), "3");
  EXPECT_DOUBLE_EQ(std::stod(tuned.at("median_ms")), 1.0);
  EXPECT_DOUBLE_EQ(std::stod(tuned.at("ci_low_ms")), 0.99);
  EXPECT_DOUBLE_EQ(std::stod(tuned.at("ci_high_ms")), 1.01);
  EXPECT_NEAR(std::stod(tuned.at("tflops")), kernels::flops(problem(1024)) / 1e9, 1e-3);
  EXPECT_DOUBLE_EQ(std::stod(tuned.at("speedup_over_baseline")), 2.0);
  EXPECT_DOUBLE_EQ(std::stod(tuned.at("speedup_over_unfused")), 4.0);
  EXPECT_DOUBLE_EQ(std::stod(row(rows, "baseline", 1024).at("speedup_over_unfused")), 2.0);
  EXPECT_DOUBLE_EQ(std::stod(row(rows, "unfused", 1024).at("speedup_over_baseline")), 0.5);
}

TEST_F(Report, GivesTheGeometricMeanOverAllProblemsOfADevice) {
  kernels::Problem causal = problem(4096);
  causal.causal = true;
  Database database(gpu());
  database.tuned(problem(1024)).confirm("race", causal, baseline(gpu(), causal), took(8.0));
  database.confirm("race", causal, variant(gpu(), 1), took(1.0));
  page(database.trials());
  EXPECT_TRUE(
      contains(summary(), "forward, 2 problems: tuned over the family's baseline 4.00x (2.00 to 8.00)"))
      << summary();
}

TEST_F(Report, OfTheBackwardPassSaysWhatItsSpeedUpsAreRelativeTo) {
  kernels::Problem backward = problem(1024);
  backward.op = kernels::Op::backward;
  Database database(gpu());
  database.tuned(problem(1024)).search(backward, "simt.backward{warps=8}", took(2.5));
  const std::string html = page(database.trials());
  const std::string note =
      "Speed-ups are over the baseline of the kernel&#39;s family: there is no unfused backward";
  EXPECT_EQ(occurrences(html, note), 1U) << html;
  EXPECT_TRUE(contains(html, "there is no unfused backward pass): Speed-up over unfused"));
  EXPECT_EQ(occurrences(summary(), "there is no unfused backward pass"), 1U);
  EXPECT_EQ(occurrences(summary(), "| over unfused |"), 2U) << "of the overview and of the forward section";
  const Rows rows = csv("speed.csv");
  EXPECT_EQ(rows.back().at("op"), "forward");
  EXPECT_EQ(rows.front().at("op"), "backward");
  EXPECT_NEAR(std::stod(rows.front().at("tflops")), 2.5 * kernels::flops(problem(1024)) / 2.5 / 1e9, 1e-3);
}

TEST_F(Report, WritesMeasuredMemory) {
  page(Database(gpu()).tuned(problem(1024)).trials());
  const Rows rows = csv("memory.csv");
  const auto& tuned = row(rows, "tuned", 1024);
  EXPECT_EQ(tuned.at("peak_bytes"), "67108864");
  EXPECT_EQ(tuned.at("extra_bytes"), "1048576");
  EXPECT_EQ(tuned.at("status"), "ok");
}

TEST_F(Report, ShowsAnInterruptedRunWithoutSpeedUps) {
  Database database(gpu());
  database.search(problem(1024), baseline(gpu(), problem(1024)), took(2.0));
  database.search(problem(1024), variant(gpu(), 1), took(1.0));
  const std::string html = page(database.trials());
  const Rows rows = csv("speed.csv");
  const auto& tuned = row(rows, "tuned", 1024);
  EXPECT_EQ(tuned.at("confirmed"), "no");
  EXPECT_EQ(tuned.at("median_ms"), "1");
  EXPECT_EQ(tuned.at("speedup_over_baseline"), "");
  EXPECT_TRUE(contains(html, "unconfirmed"));
  EXPECT_TRUE(contains(summary(), "unconfirmed"));
  ASSERT_EQ(result_.notes.size(), 1U);
  EXPECT_TRUE(contains(result_.notes[0], "not confirmed"));
}

TEST_F(Report, SaysWhyNothingWorked) {
  Database database(gpu());
  database.search(problem(1024), variant(gpu(), 1),
                  failed(Status::compile_failed, "error: <T> & \"U\" differ"));
  database.search(problem(1024), variant(gpu(), 2),
                  failed(Status::compile_failed, "error: <T> & \"U\" differ"));
  const std::string html = page(database.trials());
  const Rows rows = csv("speed.csv");
  EXPECT_EQ(row(rows, "tuned", 1024).at("status"), "compile_failed");
  EXPECT_EQ(row(rows, "tuned", 1024).at("median_ms"), "");
  EXPECT_TRUE(contains(html, "error: &lt;T&gt; &amp; &quot;U&quot; differ"));
  EXPECT_TRUE(contains(html, "nothing worked"));
}

TEST_F(Report, MarksWhereTheUnfusedBaselineRunsOutOfMemory) {
  Database database(gpu());
  database.tuned(problem(1024)).confirm("long", problem(8192), baseline(gpu(), problem(8192)), took(9.0));
  database.confirm("long", problem(8192), unfused(gpu()), failed(Status::out_of_memory, "256 GiB"));
  const std::string html = page(database.trials());
  const Rows speed = csv("speed.csv"), memory = csv("memory.csv");
  EXPECT_EQ(row(speed, "unfused", 8192).at("status"), "out_of_memory");
  EXPECT_EQ(row(speed, "tuned", 8192).at("speedup_over_unfused"), "");
  EXPECT_EQ(row(memory, "unfused", 8192).at("status"), "out_of_memory");
  EXPECT_EQ(row(memory, "unfused", 8192).at("peak_bytes"), "");
  EXPECT_TRUE(contains(summary(), "out of memory"));
  if (have_gnuplot()) {
    EXPECT_EQ(occurrences(html, "<text>out of memory</text>"), 5U) << "speed, time, speed-up, peak, extra";
  }
}

TEST_F(Report, PutsTwoDevicesSideBySide) {
  const Database one = Database(gpu()).tuned(problem(1024)).tuned(problem(2048));
  const Database other = Database(fabricated::cpu(), "session-2").tuned(problem(1024));
  const std::string html = page(fabricated::joined(one, other));
  EXPECT_EQ(csv("speed.csv").size(), 9U);
  EXPECT_TRUE(contains(html, "figures by-device"));
  EXPECT_EQ(occurrences(html, "<figure>"), 18U) << "nine kinds; too few trials for a study of parameters";
  EXPECT_TRUE(contains(html, "Winners on " + gpu().name));
  EXPECT_TRUE(contains(html, "Winners on " + fabricated::cpu().name));
  EXPECT_TRUE(contains(html, "<h3>Devices side by side</h3>"));
  EXPECT_EQ(occurrences(html, "1.00x</td>"), 1U) << "as fast on both, at the one length that both have";
}

TEST_F(Report, TellsDevicesOfOneNameApart) {
  kernels::DeviceInfo twin = gpu();
  twin.uuid = "GPU-99999999-1111-2222-3333-444444444444";
  const std::string html = page(fabricated::joined(Database(gpu()).tuned(problem(1024)),
                                                   Database(twin, "session-2").tuned(problem(1024))));
  EXPECT_TRUE(contains(html, "Winners on " + gpu().name + " (GPU-00000000)"));
  EXPECT_TRUE(contains(html, "Winners on " + gpu().name + " (GPU-99999999)"));
  EXPECT_EQ(csv("speed.csv").front().at("device"), gpu().name);
}

TEST_F(Report, DrawsEveryKindOfPlotForEachSection) {
  if (!have_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  const std::string html = page(Database(gpu()).tuned(problem(1024)).trials());
  EXPECT_EQ(occurrences(html, "class=\"plot\""), 9U);
  for (const char* title :
       {"Speed", "Speed-up over baseline", "Speed-up over unfused", "Roofline", "Time per call",
        "Peak memory", "Extra memory", "Search progress by evaluations", "Search progress by time"})
    EXPECT_TRUE(contains(html, std::string("<figcaption>") + title + "</figcaption>")) << title;
  EXPECT_TRUE(contains(html, "Not shown (fewer than 10 configurations beyond one per length)"));
  EXPECT_TRUE(contains(html, "prefers-color-scheme"));
  EXPECT_TRUE(contains(html, "var(--tuned)"));
  EXPECT_FALSE(contains(html, "gnuplot_plot_1</title>"));
  EXPECT_TRUE(result_.notes.empty());
}

TEST_F(Report, OfAnInterruptedRunHasWhatWasSearched) {
  const std::string html = page(fabricated::interrupted());
  EXPECT_TRUE(contains(html, "Which parameters mattered"));
  EXPECT_TRUE(contains(html, "Hollow markers: unconfirmed"));
  EXPECT_TRUE(contains(html, "Not shown (no confirmation race had both): Speed-up over baseline"));
  ASSERT_EQ(result_.notes.size(), 1U);
  EXPECT_TRUE(contains(result_.notes[0], "2 of 4 problems not confirmed"));
}

TEST_F(Report, OfARunInWhichNothingWorkedIsAboutItsFailures) {
  const std::string html = page(fabricated::nothing_worked());
  EXPECT_FALSE(contains(html, "<figure"));
  EXPECT_TRUE(contains(html, "Not shown (nothing worked): Speed, Roofline"));
  for (const char* kind : {"pruned", "compile_failed", "launch_failed", "wrong_result", "timed_out"})
    EXPECT_TRUE(contains(html, std::string("<th scope=\"row\">") + kind + "</th><td class=\"n\">12</td>"))
        << kind;
  EXPECT_TRUE(contains(html, "20.0%"));
  ASSERT_EQ(result_.notes.size(), 1U);
  EXPECT_TRUE(contains(result_.notes[0], "nothing worked on 3 of 3"));
}

TEST_F(Report, TakesThePeaksThatItIsGiven) {
  const DevicePeaks peaks{fabricated::cpu().name, 1e11, {{"f32", 2e12}}, "STREAM and a data sheet"};
  const Database database = Database(fabricated::cpu()).tuned(problem(1024));
  EXPECT_TRUE(contains(page(database.trials()), "fcsa doesn&#39;t know the peaks"));
  write_report(database.trials(), directory_ / "report", {.peaks = {peaks}});
  EXPECT_TRUE(contains(read(directory_ / "report/index.html"), "STREAM and a data sheet"));
}

TEST_F(Report, TellsItsProvenance) {
  const std::string html = page(Database(gpu()).tuned(problem(1024)).trials());
  for (const std::string& fact :
       {gpu().name, gpu().uuid, gpu().driver, gpu().compiler, std::string("node-17"),
        std::string("fcsa tune --device auto"), std::string("1980 MHz"),
        std::string("2026-03-01T10:00:01Z to 2026-03-01T10:00:05Z")}) {
    EXPECT_TRUE(contains(html, fact)) << fact;
    EXPECT_TRUE(contains(summary(), fact.substr(0, fact.find('_')))) << fact;
  }
}

TEST_F(Report, SurvivesNamesThatAreMarkup) {
  kernels::DeviceInfo device = gpu();
  device.name = "<script>alert('x')</script> \"A&B\", |µ|\n$d0 `true`";
  const std::string html = page(Database(device).tuned(problem(1024)).trials());
  EXPECT_FALSE(contains(html, "<script>"));
  const Rows rows = csv("speed.csv");
  EXPECT_EQ(row(rows, "tuned", 1024).at("device"), device.name);
}

TEST_F(Report, StaysUsefulWithoutGnuplot) {
  setenv("FCSA_GNUPLOT", "/nonexistent/gnuplot", 1);
  const std::string html = page(Database(gpu()).tuned(problem(1024)).trials());
  EXPECT_FALSE(contains(html, "<svg "));
  EXPECT_TRUE(contains(html, "no plot"));
  ASSERT_EQ(result_.notes.size(), 1U);
  EXPECT_TRUE(contains(result_.notes[0], "/nonexistent/gnuplot"));
  EXPECT_TRUE(contains(result_.notes[0], "install"));
  EXPECT_TRUE(contains(html, "/nonexistent/gnuplot"));
  EXPECT_EQ(csv("speed.csv").size(), 3U);
}

TEST_F(Report, StaysUsefulWhenGnuplotFails) {
  setenv("FCSA_GNUPLOT", "false", 1);
  page(Database(gpu()).tuned(problem(1024)).trials());
  ASSERT_EQ(result_.notes.size(), 1U);
  EXPECT_TRUE(contains(result_.notes[0], "failed with status 1"));
}

TEST_F(Report, SaysWhenGnuplotWroteNothing) {
  setenv("FCSA_GNUPLOT", "true", 1);
  page(Database(gpu()).tuned(problem(1024)).trials());
  ASSERT_EQ(result_.notes.size(), 1U);
  EXPECT_TRUE(contains(result_.notes[0], "no SVG"));
}

TEST_F(Report, ReplacesAnEarlierReportAndLeavesNothingElse) {
  page({});
  page(Database(gpu()).tuned(problem(1024)).trials());
  EXPECT_EQ(csv("speed.csv").size(), 3U);
  const auto entries = fs::directory_iterator(directory_ / "report");
  EXPECT_EQ(std::distance(fs::begin(entries), fs::end(entries)), 4);
}

TEST_F(Report, ThrowsWhenTheFolderCannotBeMade) {
  std::ofstream(directory_ / "file") << "not a folder";
  try {
    write_report({}, directory_ / "file" / "report");
    FAIL() << "no exception";
  } catch (const std::runtime_error& error) {
    EXPECT_TRUE(contains(error.what(), (directory_ / "file" / "report").string())) << error.what();
    EXPECT_TRUE(contains(error.what(), "--out")) << error.what();
  }
}

TEST_F(Report, ThrowsWhenAFileCannotBeReplaced) {
  fs::create_directories(directory_ / "report/index.html/in the way");
  EXPECT_THROW(write_report({}, directory_ / "report"), std::runtime_error);
}

TEST_F(Report, IsWellFormedForEverythingARealRunLeaves) {
  const std::string html = page(fabricated::two_devices());
  EXPECT_TRUE(contains(html, "GFLOP/s"));
  EXPECT_TRUE(contains(html, "TFLOP/s"));
  EXPECT_EQ(csv("speed.csv").size(), 3U * (8 + 8 + 3));
}

}  // namespace
}  // namespace fcsa::reports
