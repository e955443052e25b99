#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/shared_options.h"
#include "cli/table.h"
#include "runner/inventory_process.h"

namespace fcsa::cli {
namespace {

std::string gibibytes(std::size_t bytes) {
  return fmt::format("{:.1f}", static_cast<double>(bytes) / (1 << 30));
}

Table devices_table(const runner::Inventory& inventory) {
  Table table{{"device", "name", "arch", "multiprocessors", "memory GiB", "driver", "compiler", "usable"},
              {}};
  for (const auto& device : inventory.devices) {
    const auto& info = device.info;
    table.rows.push_back({info.selector(), info.name, info.target.arch,
                          std::to_string(info.target.multiprocessors), gibibytes(info.target.memory_bytes),
                          info.driver, info.compiler, device.usable ? "yes" : "no: " + device.missing});
  }
  return table;
}

Table libraries_table(const runner::Inventory& inventory) {
  Table table{{"library", "version", "path", "problem"}, {}};
  const auto or_dash = [](const std::string& text) { return text.empty() ? std::string("-") : text; };
  for (const auto& library : inventory.libraries)
    table.rows.push_back(
        {library.name, or_dash(library.version), or_dash(library.path), or_dash(library.problem)});
  return table;
}

}  // namespace

void add_devices(CLI::App& app, Context&) {
  auto* command = app.add_subcommand("devices", "What can run here, and what is missing");
  auto json = std::make_shared<bool>(false);
  add_json_option(*command, *json);
  command->callback([json] {
    const runner::Inventory inventory = runner::inventory_from_child(executable_path());
    if (*json) {
      fmt::print("{{\"devices\": {}, \"libraries\": {}}}\n", to_json(devices_table(inventory)),
                 to_json(libraries_table(inventory)));
      return;
    }
    fmt::print("{}\n{}", to_text(devices_table(inventory)), to_text(libraries_table(inventory)));
  });
}

}  // namespace fcsa::cli
