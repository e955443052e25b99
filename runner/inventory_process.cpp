#include "runner/inventory_process.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <stdexcept>

#include "runner/device/json.h"
#include "runner/process/child_process.h"

namespace fcsa::runner {
namespace {

using nlohmann::json;

constexpr auto kLimit = std::chrono::seconds(120);
constexpr std::size_t kOutputLimit = std::size_t{1} << 20;

}  // namespace

int inventory_main() {
  const json inventory = take_inventory();
  fmt::print("{}\n", inventory.dump(-1, ' ', false, json::error_handler_t::replace));
  return 0;
}

Inventory inventory_from_child(const std::string& executable) {
  ChildProcess child({.command = {executable, "__inventory"}, .output_limit = kOutputLimit});
  if (!child.wait(std::chrono::steady_clock::now() + kLimit)) child.kill();
  if (child.ending() != "exited with status 0")
    throw std::runtime_error("looking for devices failed: the process was " + child.report());
  // The last line: libraries may print while they are loaded.
  const std::string& output = child.output();
  const auto end = output.find_last_not_of('\n');
  const auto begin = end == std::string::npos ? std::string::npos : output.rfind('\n', end);
  try {
    return json::parse(output.substr(begin + 1)).get<Inventory>();
  } catch (const json::exception& error) {
    throw std::runtime_error(fmt::format("looking for devices failed: {}; output: {}", error.what(), output));
  }
}

}  // namespace fcsa::runner
