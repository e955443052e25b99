#include "runner/worker/protocol.h"

#include <fmt/format.h>

#include <stdexcept>

using nlohmann::json;

namespace fcsa::runner {

namespace {

template <typename Kind, std::size_t Count>
Kind kind_of(const json& json, const Kind (&all)[Count], const char* what) {
  const int number = json.get<int>();
  if (number < 0 || number >= static_cast<int>(Count))
    throw std::out_of_range(fmt::format("unknown {} {}", what, number));
  return all[number];
}

}  // namespace

void to_json(json& json, Values values) {
  json = static_cast<int>(values);
}
void from_json(const json& json, Values& values) {
  values = kind_of(json, kAllValues, "kind of values");
}
void to_json(json& json, Placement placement) {
  json = static_cast<int>(placement);
}
void from_json(const json& json, Placement& placement) {
  placement = kind_of(json, kAllPlacements, "placement");
}

}  // namespace fcsa::runner
