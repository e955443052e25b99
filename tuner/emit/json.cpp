#include "tuner/emit/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <type_traits>

#include "tuner/emit/json_arguments.h"
#include "tuner/emit/tables.h"

namespace fcsa::tuner {
namespace {

using json = nlohmann::ordered_json;
using kernels::BackwardArgs;
using kernels::Op;

std::string base64(const std::string& bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    unsigned group = 0;
    for (std::size_t j = i; j < i + 3; ++j)
      group = group << 8 | (j < bytes.size() ? static_cast<unsigned char>(bytes[j]) : 0u);
    for (int digit = 0; digit < 4; ++digit)
      text +=
          i + static_cast<std::size_t>(digit) <= bytes.size() ? kDigits[group >> (18 - 6 * digit) & 63] : '=';
  }
  return text;
}

json device_json(const kernels::DeviceInfo& device) {
  const kernels::Target& target = device.target;
  return {{"kind", kernels::to_text(target.kind)},
          {"name", device.name},
          {"arch", target.arch},
          {"compute_capability", target.compute_capability},
          {"multiprocessors", target.multiprocessors},
          {"max_threads_per_block", target.max_threads_per_block},
          {"smem_per_block_bytes", target.smem_per_block_bytes},
          {"l2_bytes", target.l2_bytes},
          {"memory_bytes", target.memory_bytes},
          {"driver", device.driver},
          {"compiler", device.compiler}};
}

json provenance_json(const Emission& emission) {
  const Provenance& from = emission.provenance;
  return {{"devices", from.devices},     {"first_at", from.first_at},  {"last_at", from.last_at},
          {"trials", from.trials},       {"timed", from.timed},        {"commands", from.commands},
          {"command", emission.command}, {"sources", emission.sources}};
}

json traits_json(const kernels::Traits& traits) {
  json members = json::object();
  kernels::visit_traits(traits, [&](const char* name, const auto& value) {
    if constexpr (std::is_enum_v<std::decay_t<decltype(value)>>)
      members[name] = kernels::to_text(value);
    else
      members[name] = value;
  });
  return members;
}

// Names of the template instances, in the order that launches count them.
std::vector<std::string> entries_of(const EmittedVariant& variant) {
  const kernels::KernelTemplate code = variant.family->kernel_template(variant.problem.op);
  std::vector<std::string> entries;
  for (const auto& kernel : code.kernels)
    entries.push_back(fmt::format("{}<{}, {}>", kernel, kernels::traits_literal(variant.traits),
                                  kernels::config_literal(code.config_type, variant.configuration)));
  return entries;
}

// What a backward kernel may be launched for, each alone and both.
json serves_json(const EmittedVariant& variant) {
  if (variant.problem.op == Op::forward) return json::array();
  const auto may = [&](bool bias_gradient, bool deterministic) {
    return variant.serves[Demands{bias_gradient, false, deterministic}.index()];
  };
  json list = json::array();
  if (may(true, false)) list.push_back("bias_gradient");
  if (may(false, true)) list.push_back("deterministic");
  if (may(true, true)) list.push_back("deterministic bias_gradient");
  return list;
}

json kernel_json(const Emission& emission, std::size_t index) {
  const EmittedVariant& variant = emission.plan.variants[index];
  json parameters;
  for (const auto& [name, value] : variant.configuration.values) parameters[name] = value;
  json kernel = {{"configuration", configuration_text(variant)},
                 {"op", kernels::to_text(variant.problem.op)},
                 {"family", variant.family->name()},
                 {"parameters", parameters},
                 {"traits", traits_json(variant.traits)},
                 {"tuned", index < emission.plan.tuned_variants},
                 {"serves", serves_json(variant)},
                 {"source_hash", source_hash_of(emission, variant)},
                 {"entries", entries_of(variant)}};
  if (emission.compiled.empty()) return kernel;
  const CompiledVariant& compiled = emission.compiled[index];
  kernel["symbols"] = compiled.symbols;
  kernel["registers"] = compiled.resources.registers;
  kernel["spill_bytes"] = compiled.resources.spill_bytes;
  kernel["cubin"] = base64(compiled.cubin);
  return kernel;
}

json map_json(const kernels::TensorMap& map) {
  const char* names[] = {"q", "k", "v", "workspace", "o"};
  const auto rank = static_cast<std::size_t>(map.rank);
  return {{"tensor", names[map.tensor]},
          {"first_byte", map.first_byte},
          {"size", std::span(map.size).first(rank)},
          {"stride_bytes", std::span(map.stride_bytes).first(rank - 1)},
          {"box", std::span(map.box).first(rank)},
          {"swizzle_bytes", map.swizzle_bytes}};
}

json launches_json(const kernels::LaunchPlan& plan) {
  json launches = json::array();
  for (const auto& step : std::span(plan.steps).first(static_cast<std::size_t>(plan.count)))
    launches.push_back({{"entry", step.kernel},
                        {"grid", {step.grid_x, step.grid_y, step.grid_z}},
                        {"threads", step.threads},
                        {"smem_bytes", step.smem_bytes},
                        {"blocks_per_multiprocessor", step.blocks_per_multiprocessor},
                        {"cooperative", step.cooperative}});
  return launches;
}

// Milliseconds. `interval` is that of the median, null where the measurement is not among the trials.
json time_json(const Emission& emission, const EmittedShape& shape) {
  const EmittedVariant& variant = emission.plan.variants[shape.variant];
  json time = {{"median_ms", shape.time_ms},
               {"interval_95_ms", nullptr},
               {"best_ms", shape.best_ms},
               {"baseline_ms", shape.baseline_ms > 0 ? json(shape.baseline_ms) : json()},
               {"regret", shape.time_ms / shape.best_ms - 1}};
  const auto& measurements = emission.provenance.measurements;
  const auto found = measurements.find({kernels::to_text(shape.problem), configuration_text(variant)});
  if (found == measurements.end()) return time;
  const auto& [phase, measurement] = found->second;
  time["interval_95_ms"] = {measurement.ci_low_ms, measurement.ci_high_ms};
  time["samples"] = measurement.samples_ms.size();
  time["phase"] = to_text(phase);
  time["cache"] = to_text(measurement.cache);
  return time;
}

json shape_json(const Emission& emission, const EmittedShape& shape) {
  const EmitPlan& plan = emission.plan;
  const EmittedVariant& variant = plan.variants[shape.variant];
  const kernels::Problem& p = shape.problem;
  const kernels::BackwardArgs args = kernels::shape_args(p);
  const kernels::LaunchPlan launch = variant.family->plan(variant.traits, variant.configuration, args);
  json maps = json::array(), corrections = json::array();
  for (const float correction : shape.corrections)
    corrections.push_back(correction < kernels::kNotMeasured ? json(correction) : json());
  for (int i = 0; i < launch.map_count; ++i) maps.push_back(map_json(launch.maps[i]));
  return {{"problem", kernels::to_text(p)},
          {"nq", p.nq},
          {"nk", p.nk},
          {"batch", p.batch},
          {"heads", p.heads},
          {"kv_heads", p.kv_heads},
          {"layout", kernels::to_text(p.layout)},
          {"scale", args.scale},
          {"bound", args.bound},
          {"kernel", shape.variant},
          {"time", time_json(emission, shape)},
          {"position", {shape.position.nq, shape.position.nk, shape.position.fill}},
          {"corrections", corrections},
          {"workspace_bytes", launch.workspace_bytes},
          {"launches", launches_json(launch)},
          {"tensor_maps", maps}};
}

// A class as it was tuned, and what the choice costs on its shapes and on shapes that aren't among them.
json tuned_json(const DispatchClass& c) {
  return {{"problems", c.class_text},
          {"worst_regret", c.worst_regret},
          {"left_out",
           {{"median_regret", c.left_out.median_regret},
            {"worst_regret", c.left_out.worst_regret},
            {"priced", c.left_out.priced},
            {"unpriced", c.left_out.unpriced}}}};
}

json candidate_json(const EmittedCandidate& candidate) {
  const kernels::Tile& tile = candidate.model.tile;
  return {{"kernel", candidate.variant},
          {"tile",
           {{"rows", tile.rows},
            {"keys", tile.keys},
            {"packs_heads", tile.packs_heads},
            {"pairs", tile.pairs},
            {"blocks", tile.blocks},
            {"split_until", tile.split_until}}},
          {"ms_per_row", candidate.model.ms_per_row},
          {"ms_per_product", candidate.model.ms_per_product}};
}

// Whether any kernel of the class may be launched where that is asked for.
bool serves_deterministic(const EmitPlan& plan, const EmittedClass& c) {
  Demands demands = c.demands;
  demands.deterministic = true;
  return c.op == Op::backward && serves(plan, c, demands);
}

json class_json(const Emission& emission, const EmittedClass& c) {
  json tuned_as = json::array(), candidates = json::array(), shapes = json::array();
  for (const auto& tuned : emission.table.classes)
    if (std::find(c.tuned_as.begin(), c.tuned_as.end(), tuned.class_text) != c.tuned_as.end())
      tuned_as.push_back(tuned_json(tuned));
  for (const auto& candidate : c.candidates) candidates.push_back(candidate_json(candidate));
  for (const auto& shape : c.shapes) shapes.push_back(shape_json(emission, shape));
  return {{"op", kernels::to_text(c.op)},
          {"traits", traits_json(c.traits)},
          {"demands",
           {{"bias_gradient", c.demands.bias_gradient},
            {"scale_gradient", c.demands.scale_gradient},
            {"deterministic", serves_deterministic(emission.plan, c)}}},
          {"tuned_as", tuned_as},
          {"default_kernel", c.default_variant},
          {"candidates", candidates},
          {"shapes", shapes}};
}

// Text of the kernels of each family and operation, which `entries` are instantiated from.
json sources_json(const EmitPlan& plan) {
  json sources;
  for (const EmittedSource& source : sources_of(plan))
    sources[source.family->name()][kernels::to_text(source.op)] = {
        {"path", source.path()}, {"text", kernels::flattened_source(source.path())}};
  return sources;
}

}  // namespace

std::string table_json(const Emission& emission) {
  const EmitPlan& plan = emission.plan;
  json kernels = json::array(), classes = json::array();
  for (std::size_t i = 0; i < plan.variants.size(); ++i) kernels.push_back(kernel_json(emission, i));
  for (const auto& c : plan.classes) classes.push_back(class_json(emission, c));
  json arguments;
  for (const Op op : {Op::forward, Op::backward})
    if (has_op(plan, op)) arguments[kernels::to_text(op)] = arguments_json(op);
  const json table = {{"schema", "fcsa dispatch table"},
                      {"schema_version", kTableSchemaVersion},
                      {"fcsa", FCSA_VERSION},
                      {"device", device_json(emission.table.device)},
                      {"provenance", provenance_json(emission)},
                      {"epsilon", emission.table.epsilon},
                      {"cubin_compiler", emission.compiler},
                      {"classes", classes},
                      {"kernels", kernels},
                      {"arguments", arguments},
                      {"sources", sources_json(plan)}};
  return table.dump(1) + "\n";
}

}  // namespace fcsa::tuner
