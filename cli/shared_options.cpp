#include "cli/shared_options.h"

#include <limits>

namespace fcsa::cli {

CLI::Option* add_db_option(CLI::App& app, std::string& path) {
  return app.add_option("--db", path, "Database [~/.local/share/fcsa/tuning.db]");
}

CLI::Option* add_device_option(CLI::App& app, std::string& selector) {
  return app.add_option("--device", selector, "auto, cpu, cuda or cuda:N")->capture_default_str();
}

CLI::Option* add_jobs_option(CLI::App& app, int& jobs) {
  // CLI::NonNegativeNumber writes its upper limit, which is a double's, into the message: 309 digits.
  return app.add_option("--jobs", jobs, "Compile processes [one per core]")
      ->check(CLI::Range(0, std::numeric_limits<int>::max(), "NONNEGATIVE"));
}

CLI::Option* add_cache_dir_option(CLI::App& app, std::string& directory) {
  return app.add_option("--cache-dir", directory, "Compiled kernels [~/.cache/fcsa]");
}

CLI::Option* add_json_option(CLI::App& app, bool& json) {
  return app.add_flag("--json", json, "Print JSON");
}

}  // namespace fcsa::cli
