// Options that several subcommands have: one name, one description, one check.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace fcsa::cli {

CLI::Option* add_db_option(CLI::App& app, std::string& path);          // of what is tuned: open_tuned_store()
CLI::Option* add_device_option(CLI::App& app, std::string& selector);  // to run on: resolve_device()
CLI::Option* add_jobs_option(CLI::App& app, int& jobs);                // 0: one per core
CLI::Option* add_cache_dir_option(CLI::App& app, std::string& directory);
CLI::Option* add_json_option(CLI::App& app, bool& json);

}  // namespace fcsa::cli
