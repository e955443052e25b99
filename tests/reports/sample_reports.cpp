// Writes reports of made-up databases, to be looked at: sample_reports FOLDER. Says how long each took.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>

#include "reports/report.h"
#include "tests/reports/fabricated.h"

namespace {

namespace fabricated = fcsa::reports::fabricated;

void write(const std::filesystem::path& folder, const std::vector<fcsa::tuner::StoredTrial>& trials) {
  const auto start = std::chrono::steady_clock::now();
  fcsa::reports::write_report(trials, folder);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  fmt::print("{}: {} trials in {:.2f} s\n", folder.string(), trials.size(), took.count());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: sample_reports FOLDER\n");
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  write(folder / "empty", {});
  write(folder / "partial", fabricated::interrupted());
  write(folder / "failed", fabricated::nothing_worked());
  write(folder / "two_devices", fabricated::two_devices());
  write(folder / "many", fabricated::many(10000));
}
