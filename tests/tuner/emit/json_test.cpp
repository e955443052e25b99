#include "tuner/emit/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/tuner/emit/sample_tables.h"

namespace fcsa::tuner {
namespace {

using nlohmann::json;

json parsed(const Emission& emission) {
  return json::parse(table_json(emission));
}

TEST(EmitJson, SaysWhatItIsAndWhereItComesFrom) {
  const json table = parsed(emission_of(simt_table("sm_90a")));
  EXPECT_EQ(table["schema"], "fcsa dispatch table");
  EXPECT_EQ(table["schema_version"], kTableSchemaVersion);
  EXPECT_EQ(table["device"]["arch"], "sm_90a");
  EXPECT_EQ(table["device"]["multiprocessors"], 132);
  EXPECT_EQ(table["provenance"]["trials"], 345);
  EXPECT_EQ(table["provenance"]["commands"][0], "fcsa tune --seq 128:4096 --db tuning.db");
  EXPECT_EQ(table["epsilon"], 0.02);
}

TEST(EmitJson, HasEveryKernelWithItsParametersTraitsAndSource) {
  const Emission emission = emission_of(simt_table("sm_80"));
  const json table = parsed(emission);
  ASSERT_EQ(table["kernels"].size(), emission.plan.variants.size());
  const json& kernel = table["kernels"][1];
  const EmittedVariant& variant = emission.plan.variants[1];
  EXPECT_EQ(kernel["configuration"],
            kernels::to_text(*variant.family, variant.problem.op, variant.configuration));
  for (const auto& [name, value] : variant.configuration.values) EXPECT_EQ(kernel["parameters"][name], value);
  EXPECT_EQ(kernel["op"], "forward");
  EXPECT_EQ(kernel["traits"]["dtype"], "f32");
  EXPECT_EQ(kernel["traits"]["head_dim"], 64);
  EXPECT_EQ(kernel["tuned"], true);
  EXPECT_EQ(kernel["source_hash"], "hash of " + kernel["configuration"].get<std::string>());
  EXPECT_EQ(kernel["entries"], variant.family->source(variant.problem, variant.configuration).entries);
  EXPECT_EQ(table["kernels"].back()["tuned"], false);
}

TEST(EmitJson, HasTheSourcesThatTheEntriesAreNamesIn) {
  const json table = parsed(emission_of(simt_training_table("sm_80")));
  for (const auto& kernel : table["kernels"])
    EXPECT_TRUE(table["sources"][kernel["family"]].contains(kernel["op"]));
  for (const std::string op : {"forward", "backward"})
    EXPECT_EQ(table["sources"]["simt"][op]["text"], kernels::flattened_source("kernels/simt/" + op + ".cuh"));
}

TEST(EmitJson, HasTheLaunchesOfEveryTunedShape) {
  const Emission emission = emission_of(wgmma_table());
  const json table = parsed(emission);
  const EmittedClass& c = emission.plan.classes.front();
  const json& shapes = table["classes"][0]["shapes"];
  ASSERT_EQ(shapes.size(), c.shapes.size());
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const EmittedVariant& v = emission.plan.variants[c.shapes[i].variant];
    const auto plan = v.family->plan(v.traits, v.configuration, kernels::shape_args(c.shapes[i].problem));
    EXPECT_EQ(shapes[i]["kernel"], c.shapes[i].variant);
    EXPECT_EQ(shapes[i]["scale"], 8.0);
    EXPECT_EQ(shapes[i]["bound"], 8.0);
    EXPECT_EQ(shapes[i]["workspace_bytes"], plan.workspace_bytes);
    ASSERT_EQ(shapes[i]["launches"].size(), static_cast<std::size_t>(plan.count));
    for (int step = 0; step < plan.count; ++step) {
      const json& launch = shapes[i]["launches"][static_cast<std::size_t>(step)];
      const kernels::Launch& expected = plan.steps[step];
      EXPECT_EQ(launch["entry"], expected.kernel);
      EXPECT_EQ(launch["grid"], (json{expected.grid_x, expected.grid_y, expected.grid_z}));
      EXPECT_EQ(launch["threads"], expected.threads);
      EXPECT_EQ(launch["smem_bytes"], expected.smem_bytes);
      EXPECT_EQ(launch["blocks_per_multiprocessor"], expected.blocks_per_multiprocessor);
      EXPECT_EQ(launch["cooperative"], expected.cooperative);
    }
    ASSERT_EQ(shapes[i]["tensor_maps"].size(), 3u);
    EXPECT_EQ(shapes[i]["tensor_maps"][1]["tensor"], "workspace") << "normalised keys";
    EXPECT_EQ(shapes[i]["tensor_maps"][2]["tensor"], "v");
    EXPECT_EQ(shapes[i]["tensor_maps"][1]["size"].size(), static_cast<std::size_t>(plan.maps[1].rank));
  }
}

TEST(EmitJson, NamesOAmongTheTensorsOfAKernelThatStoresItByATensorMap) {
  Emission emission = emission_of(wgmma_table());
  auto& variant = emission.plan.variants[emission.plan.classes.front().shapes.front().variant];
  for (auto& [name, value] : variant.configuration.values) {
    if (name == "q_in_registers") value = 0;
    if (name == "q_buffers") value = 2;
    if (name == "tma_store") value = 1;
  }
  const json maps = parsed(emission)["classes"][0]["shapes"][0]["tensor_maps"];
  ASSERT_EQ(maps.size(), 4u);
  EXPECT_EQ(maps[3]["tensor"], "o");
}

TEST(EmitJson, HasTheBackwardPassNextToTheForwardPass) {
  const Emission emission = emission_of(simt_training_table("sm_80"));
  const json table = parsed(emission);
  for (std::size_t i = 0; i < emission.plan.tuned_classes; ++i) {
    const EmittedClass& c = emission.plan.classes[i];
    EXPECT_EQ(table["classes"][i]["op"], kernels::to_text(c.op));
    if (c.op == kernels::Op::forward) continue;
    EXPECT_EQ(table["classes"][i]["demands"]["deterministic"], true);
    const json& shape = table["classes"][i]["shapes"][0];
    EXPECT_EQ(shape["launches"].size(), 3u) << "prepare, grad_keys and grad_queries";
    const json& kernel = table["kernels"][shape["kernel"].get<std::size_t>()];
    EXPECT_EQ(kernel["op"], "backward");
    EXPECT_EQ(kernel["entries"].size(), 4u);
  }
}

TEST(EmitJson, HasTimesWithTheirIntervalsAndRegret) {
  Emission emission = emission_of(simt_table("sm_80"));
  EmittedShape& shape = emission.plan.classes.front().shapes.front();
  shape.time_ms = 1.02, shape.best_ms = 1.0, shape.baseline_ms = 2.0;
  const auto& variant = emission.plan.variants[shape.variant];
  TimedTrial trial{Phase::confirm, {}};
  trial.measurement.samples_ms = {1.0, 1.1};
  trial.measurement.ci_low_ms = 1.01, trial.measurement.ci_high_ms = 1.03;
  emission.provenance
      .measurements[{kernels::to_text(shape.problem),
                     kernels::to_text(*variant.family, variant.problem.op, variant.configuration)}] = trial;
  const json shapes = parsed(emission)["classes"][0]["shapes"];
  const json& time = shapes[0]["time"];
  EXPECT_EQ(time["median_ms"], 1.02);
  EXPECT_EQ(time["interval_95_ms"], (json{1.01, 1.03}));
  EXPECT_EQ(time["samples"], 2);
  EXPECT_EQ(time["phase"], "confirm");
  EXPECT_EQ(time["baseline_ms"], 2.0);
  EXPECT_NEAR(time["regret"].get<double>(), 0.02, 1e-12);
  EXPECT_TRUE(shapes[1]["time"]["interval_95_ms"].is_null());
}

TEST(EmitJson, HasTheRuleForShapesThatWereNotTuned) {
  const Emission emission = emission_of(simt_table("sm_80"));
  const json table = parsed(emission)["classes"][0];
  const EmittedClass& c = emission.plan.classes.front();
  EXPECT_EQ(table["tuned_as"][0]["problems"], emission.table.classes[0].class_text);
  EXPECT_EQ(table["tuned_as"][0]["left_out"]["median_regret"], 0.005);
  ASSERT_EQ(table["candidates"].size(), 2u);
  EXPECT_EQ(table["candidates"][1]["kernel"], c.candidates[1].variant);
  EXPECT_EQ(table["candidates"][1]["tile"]["rows"], c.candidates[1].model.tile.rows);
  EXPECT_EQ(table["candidates"][1]["ms_per_product"], c.candidates[1].model.ms_per_product);
  EXPECT_EQ(table["shapes"][2]["position"][0], 11.0);
  EXPECT_EQ(table["shapes"][2]["corrections"][1], c.shapes[2].corrections[1]);
}

TEST(EmitJson, SaysWhereTheArgumentsOfAKernelAre) {
  const json arguments = parsed(emission_of(simt_training_table("sm_80")))["arguments"];
  EXPECT_EQ(arguments["forward"]["bytes"], sizeof(kernels::Args));
  EXPECT_EQ(arguments["backward"]["bytes"], sizeof(kernels::BackwardArgs));
  kernels::BackwardArgs args;
  args.nk = 12345;
  args.dv_strides.row = 67890;
  const auto value_at = [&]<typename T>(T value, const json& field) {
    std::memcpy(&value, reinterpret_cast<const char*>(&args) + field["offset"].get<std::size_t>(), sizeof(T));
    return value;
  };
  int found = 0;
  for (const std::string op : {"forward", "backward"})
    for (const auto& field : arguments[op]["fields"]) {
      if (field["name"] == "nk") {
        EXPECT_EQ(value_at(0, field), 12345);
        EXPECT_EQ(field["type"], "int32");
        ++found;
      } else if (field["name"] == "dv_strides") {
        EXPECT_EQ(value_at(kernels::Strides{}, field).row, 67890);
        EXPECT_EQ(field["type"], "int64[3]");
        ++found;
      }
    }
  EXPECT_EQ(found, 3) << "nk of both, and the strides of backward";
}

TEST(EmitJson, HasBinariesWhereThereAreSome) {
  Emission emission = emission_of(simt_table("sm_80"));
  EXPECT_FALSE(parsed(emission)["kernels"][0].contains("cubin"));
  emission.compiler = "NVRTC 13.0";
  emission.compiled.resize(emission.plan.variants.size(), {"", {"_Zforward"}, {.registers = 128}});
  const std::pair<const char*, const char*> encodings[] = {
      {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob\xff", "Zm9vYv8="}};
  std::size_t index = 0;
  for (const auto& [bytes, text] : encodings) emission.compiled[index++].cubin = bytes;
  const json table = parsed(emission);
  EXPECT_EQ(table["cubin_compiler"], "NVRTC 13.0");
  index = 0;
  for (const auto& [bytes, text] : encodings) EXPECT_EQ(table["kernels"][index++]["cubin"], text);
  EXPECT_EQ(table["kernels"][0]["symbols"][0], "_Zforward");
  EXPECT_EQ(table["kernels"][0]["registers"], 128);
}

}  // namespace
}  // namespace fcsa::tuner
