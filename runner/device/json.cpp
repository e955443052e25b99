#include "runner/device/json.h"

#include <iterator>
#include <stdexcept>

using nlohmann::json;

namespace fcsa::kernels {

void to_json(json& json, const Problem& problem) {
  json = to_text(problem);
}

void from_json(const json& json, Problem& problem) {
  problem = problem_from_text(json.get_ref<const std::string&>());
}

void to_json(json& json, DeviceKind kind) {
  json = std::string(to_text(kind));
}

void from_json(const json& json, DeviceKind& kind) {
  const auto& text = json.get_ref<const std::string&>();
  if (text != "cpu" && text != "cuda") throw std::invalid_argument("unknown kind of device '" + text + "'");
  kind = text == "cuda" ? DeviceKind::cuda : DeviceKind::cpu;
}

void to_json(json& json, const LaunchPlan& plan) {
  json["steps"] = std::vector<Launch>(plan.steps, plan.steps + plan.count);
  json["maps"] = std::vector<TensorMap>(plan.maps, plan.maps + plan.map_count);
  json["workspace_bytes"] = plan.workspace_bytes;
}

void from_json(const json& json, LaunchPlan& plan) {
  const auto steps = json.at("steps").get<std::vector<Launch>>();
  if (steps.size() > std::size(plan.steps)) throw std::out_of_range("a launch plan has too many steps");
  plan = LaunchPlan{};
  plan.count = static_cast<int>(steps.size());
  std::copy(steps.begin(), steps.end(), plan.steps);
  const auto maps = json.at("maps").get<std::vector<TensorMap>>();
  if (maps.size() > std::size(plan.maps)) throw std::out_of_range("a launch plan has too many tensor maps");
  plan.map_count = static_cast<int>(maps.size());
  std::copy(maps.begin(), maps.end(), plan.maps);
  plan.workspace_bytes = json.at("workspace_bytes").get<long long>();
}

}  // namespace fcsa::kernels

namespace fcsa::tuner {

void to_json(json& json, Status status) {
  json = std::string(to_text(status));
}
void from_json(const json& json, Status& status) {
  status = status_from_text(json.get_ref<const std::string&>());
}
void to_json(json& json, CacheState state) {
  json = std::string(to_text(state));
}
void from_json(const json& json, CacheState& state) {
  state = cache_state_from_text(json.get_ref<const std::string&>());
}

}  // namespace fcsa::tuner
