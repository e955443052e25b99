// A table that prints for people (aligned columns) and for programs (JSON).
#pragma once

#include <string>
#include <vector>

namespace fcsa::cli {

struct Table {
  std::vector<std::string> headers;  // "median ms": shown as is; in JSON "median_ms"
  std::vector<std::vector<std::string>>
      rows;  // a cell that is a number becomes one in JSON; "-" becomes null
};

std::string to_text(const Table& table);
std::string to_json(const Table& table);
void print(const Table& table, bool json);

}  // namespace fcsa::cli
