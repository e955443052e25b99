#include <cmath>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/tuner/trials/store_records.h"
#include "tuner/trials/store_export.h"

namespace fcsa::tuner {
namespace {

using nlohmann::json;

StoredTrial make_stored(const Trial& trial, const Session& session = make_session("s1")) {
  return {.id = 1, .session = session, .trial = trial};
}

// Cells of each record of RFC 4180 text.
std::vector<std::vector<std::string>> parse_csv(const std::string& text) {
  std::vector<std::vector<std::string>> records{{""}};
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (quoted && text[i] == '"' && i + 1 < text.size() && text[i + 1] == '"') {
      records.back().back() += text[++i];
    } else if (text[i] == '"') {
      quoted = !quoted;
    } else if (!quoted && text[i] == ',') {
      records.back().emplace_back();
    } else if (!quoted && text.compare(i, 2, "\r\n") == 0) {
      records.push_back({""});
      ++i;
    } else {
      records.back().back() += text[i];
    }
  }
  records.pop_back();
  return records;
}

std::string cell(const std::vector<std::vector<std::string>>& records, const std::string& column) {
  for (std::size_t i = 0; i < records.at(0).size(); ++i) {
    if (records[0][i] == column) return records.at(1).at(i);
  }
  ADD_FAILURE() << "no column " << column;
  return "";
}

TEST(T4Export, HasTheFormOfTheRecordedFiles) {
  const json document = json::parse(to_t4_json({make_stored(make_trial(128))}));
  EXPECT_EQ(document.at("schema_version"), "1.0.0");
  EXPECT_EQ(document.at("metadata").at("timeunit"), "miliseconds");
  ASSERT_EQ(document.at("results").size(), 1u);
  const json& result = document["results"][0];
  EXPECT_EQ(result.at("timestamp"), "2026-01-02T03:05:00Z");
  EXPECT_EQ(result.at("configuration"), (json{{"block_m", 64}, {"block_n", 128}}));
  EXPECT_EQ(result.at("times").at("compilation"), 412.625);
  EXPECT_EQ(result["times"].at("runtimes"), (json{0.1, 1.0 / 3, 2e-300}));
  EXPECT_EQ(result.at("invalidity"), "correct");
  EXPECT_EQ(result.at("correctness"), 1);
  EXPECT_EQ(result.at("objectives"), json::array({"time"}));
  EXPECT_EQ(result.at("measurements")[0], (json{{"name", "time"}, {"value", 1.0 / 3}, {"unit", "ms"}}));
}

TEST(T4Export, NamesProblemKernelAndDevice) {
  const json document = json::parse(to_t4_json({make_stored(make_trial())}));
  const json& result = document["results"][0];
  EXPECT_EQ(result.at("problem"), kernels::to_text(make_trial().problem));
  EXPECT_EQ(result.at("kernel"), "made_up.forward");
  EXPECT_EQ(result.at("device"), "GPU-1");
  const json& session = document["metadata"]["sessions"].at(0);
  EXPECT_EQ(session.at("uid"), "s1");
  EXPECT_EQ(session.at("seed"), 18446744073709551615u);
  EXPECT_EQ(session.at("device").at("name"), "NVIDIA H100 80GB HBM3");
}

TEST(T4Export, GivesEveryStatusAWordOfTheFormat) {
  const std::vector<std::pair<Status, std::string>> words{{Status::ok, "correct"},
                                                          {Status::pruned, "constraints"},
                                                          {Status::compile_failed, "compile"},
                                                          {Status::launch_failed, "runtime"},
                                                          {Status::out_of_memory, "runtime"},
                                                          {Status::wrong_result, "correctness"},
                                                          {Status::timed_out, "timeout"},
                                                          {Status::crashed, "runtime"}};
  for (const auto& [status, word] : words) {
    Trial trial = make_trial();
    trial.evaluation.status = status;
    const json result = json::parse(to_t4_json({make_stored(trial)})).at("results").at(0);
    EXPECT_EQ(result.at("invalidity"), word);
    EXPECT_EQ(result.at("correctness"), status == Status::ok ? 1 : 0);
    EXPECT_EQ(result.at("measurements")[0].at("value").is_number(), status == Status::ok);
    EXPECT_EQ(result.at("times").contains("runtimes"), status == Status::ok);
  }
}

TEST(T4Export, CopesWithUnusualConfigurationTexts) {
  const auto configuration_of = [](const std::string& text) {
    Trial trial = make_trial();
    trial.configuration = text;
    return json::parse(to_t4_json({make_stored(trial)})).at("results").at(0).at("configuration");
  };
  EXPECT_EQ(configuration_of("made_up.forward"), json::object());
  EXPECT_EQ(configuration_of("made_up.forward{}"), json::object());
  EXPECT_EQ(configuration_of("made_up.forward{a=-3,mode=fast}"), (json{{"a", -3}, {"mode", "fast"}}));
  EXPECT_EQ(configuration_of("made_up.forward{a=1,b"), (json{{"a", 1}}));
  EXPECT_EQ(configuration_of(""), json::object());
}

TEST(T4Export, FillsInTheDefaultsOfAKernelThatIsKnown) {
  const auto& family = *kernels::families().front();
  const auto parameters = family.parameters(kernels::Op::forward);
  Trial trial = make_trial();
  trial.configuration = kernels::kernel_name(family, kernels::Op::forward);
  const json result = json::parse(to_t4_json({make_stored(trial)})).at("results").at(0);
  ASSERT_EQ(result.at("configuration").size(), parameters.size());
  for (const auto& parameter : parameters)
    EXPECT_EQ(result["configuration"].at(parameter.name), parameter.default_value);
}

TEST(T4Export, SurvivesBytesThatAreNotUtf8AndNan) {
  Trial trial = make_trial();
  trial.evaluation.message = "error: \xff\xfe";
  trial.evaluation.accuracy.error = std::nan("");
  EXPECT_NO_THROW(json::parse(to_t4_json({make_stored(trial)})));
}

TEST(T4Export, OfNothingIsAnEmptyList) {
  EXPECT_EQ(json::parse(to_t4_json({})).at("results"), json::array());
}

TEST(CsvExport, HasOneHeaderAndOneRecordPerTrial) {
  const auto records = parse_csv(to_csv({make_stored(make_trial(1)), make_stored(make_trial(2))}));
  ASSERT_EQ(records.size(), 3u);
  for (const auto& record : records) EXPECT_EQ(record.size(), records[0].size());
  EXPECT_EQ(std::set<std::string>(records[0].begin(), records[0].end()).size(), records[0].size());
  EXPECT_EQ(parse_csv(to_csv({})), std::vector<std::vector<std::string>>(1, records[0]));
}

TEST(CsvExport, HoldsTheFields) {
  const auto records = parse_csv(to_csv({make_stored(make_trial(7))}));
  EXPECT_EQ(cell(records, "session_uid"), "s1");
  EXPECT_EQ(cell(records, "session_seed"), "18446744073709551615");
  EXPECT_EQ(cell(records, "device_name"), "NVIDIA H100 80GB HBM3");
  EXPECT_EQ(cell(records, "problem"), kernels::to_text(make_trial().problem));
  EXPECT_EQ(cell(records, "nk"), "640");
  EXPECT_EQ(cell(records, "logit_bound"), "");
  EXPECT_EQ(cell(records, "configuration"), "made_up.forward{block_m=64,block_n=7}");
  EXPECT_EQ(cell(records, "samples_ms"), "0.1 0.3333333333333333 2e-300");
  EXPECT_EQ(cell(records, "status"), "ok");
}

TEST(CsvExport, QuotesAsRfc4180Says) {
  Trial trial = make_trial();
  trial.evaluation.message = "line 1, \"quoted\"\r\nline 2";
  const std::string text = to_csv({make_stored(trial)});
  EXPECT_NE(text.find("\"line 1, \"\"quoted\"\"\r\nline 2\""), std::string::npos);
  EXPECT_EQ(cell(parse_csv(text), "message"), trial.evaluation.message);
}

}  // namespace
}  // namespace fcsa::tuner
