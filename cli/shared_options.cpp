#include "cli/shared_options.h"

namespace fcsa::cli {

CLI::Option* add_db_option(CLI::App& app, std::string& path) {
  return app.add_option("--db", path, "Database [~/.local/share/fcsa/tuning.db]");
}

CLI::Option* add_device_option(CLI::App& app, std::string& selector) {
  return app.add_option("--device", selector, "auto, cpu, cuda or cuda:N")->capture_default_str();
}

CLI::Option* add_jobs_option(CLI::App& app, int& jobs) {
  return app.add_option("--jobs", jobs, "Compile processes [one per core]")->check(CLI::NonNegativeNumber);
}

CLI::Option* add_cache_dir_option(CLI::App& app, std::string& directory) {
  return app.add_option("--cache-dir", directory, "Compiled kernels [~/.cache/fcsa]");
}

CLI::Option* add_json_option(CLI::App& app, bool& json) {
  return app.add_flag("--json", json, "Print JSON");
}

}  // namespace fcsa::cli
