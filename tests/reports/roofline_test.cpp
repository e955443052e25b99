#include "reports/roofline.h"

#include <gtest/gtest.h>

#include "tests/reports/fabricated.h"

namespace fcsa::reports {
namespace {

using fabricated::Database;
using fabricated::gpu;
using fabricated::problem;

class Roofline : public testing::Test {
 protected:
  // The figure of one device.
  Figure figure(const Database& database, const std::vector<DevicePeaks>& peaks = known_peaks()) {
    devices_ = collect(database.trials());
    sections_ = make_sections(devices_);
    return roofline_figures(sections_.at(0), devices_, peaks).at(0);
  }

  static bool has_label(const Figure& figure, const std::string& text) {
    for (const Label& label : figure.plot.labels)
      if (label.text == text) return true;
    return false;
  }

  std::vector<DeviceResults> devices_;
  std::vector<Section> sections_;
};

TEST_F(Roofline, ComparesASpeedWithTheLowerOfTheTwoLimits) {
  const DevicePeaks peaks{gpu().name, 1e12, {{"f32", 6e13}}, "my measurement"};
  const Figure roofline = figure(Database(gpu()).tuned(problem(1024)), {peaks});
  ASSERT_EQ(roofline.numbers.rows.size(), 1U);
  const double flop_per_byte = kernels::flops(problem(1024)) / kernels::bytes(problem(1024));
  const double limit = std::min(6e13, 1e12 * flop_per_byte);
  const double speed = kernels::flops(problem(1024)) / 1e-3;  // 1 ms
  EXPECT_EQ(roofline.numbers.rows[0][1], significant(flop_per_byte));
  EXPECT_EQ(roofline.numbers.rows[0][3], significant(limit / 1e12, 4));
  EXPECT_EQ(roofline.numbers.rows[0][4], std::to_string(static_cast<int>(100 * speed / limit + 0.5)) + "%");
  EXPECT_NE(roofline.note.find("my measurement"), std::string::npos) << roofline.note;
  EXPECT_TRUE(has_label(roofline, "60.0 TFLOP/s"));
  EXPECT_TRUE(has_label(roofline, "1.00 TB/s"));
}

TEST_F(Roofline, TheLinesMeetWhereBothLimitsAreEqual) {
  const DevicePeaks peaks{gpu().name, 1e12, {{"f32", 6e13}}, "my measurement"};
  const Figure roofline = figure(Database(gpu()).tuned(problem(1024)), {peaks});
  const Curve& line = roofline.plot.curves.front();
  ASSERT_EQ(line.samples.size(), 3U);
  EXPECT_NEAR(line.samples[0].y, line.samples[0].x, 1e-9) << "1 TB/s at x FLOP per byte: x TFLOP/s";
  EXPECT_NEAR(line.samples[1].x, 60, 1e-9);
  EXPECT_NEAR(line.samples[1].y, 60, 1e-9);
  EXPECT_NEAR(line.samples[2].y, 60, 1e-9);
  EXPECT_LE(roofline.plot.y.high, 1e3);
  EXPECT_GT(roofline.plot.y.high, 60);
}

TEST_F(Roofline, OfF32HasTheLimitOfThreeTf32ProductsToo) {
  const Figure roofline = figure(Database(gpu()).tuned(problem(1024)));
  EXPECT_TRUE(has_label(roofline, "165 TFLOP/s")) << "494.7 / 3";
  EXPECT_TRUE(has_label(roofline, "66.9 TFLOP/s"));
}

TEST_F(Roofline, OfBf16HasTheTensorCoresLimit) {
  kernels::Problem bf16 = problem(1024);
  bf16.dtype = kernels::DType::bf16;
  EXPECT_TRUE(has_label(figure(Database(gpu()).tuned(bf16)), "989 TFLOP/s"));
}

TEST_F(Roofline, OfAnUnknownDeviceHasPointsAndSaysWhyThereAreNoLines) {
  const Figure roofline = figure(Database(gpu()).tuned(problem(1024)), {});
  EXPECT_TRUE(roofline.plot.labels.empty());
  EXPECT_EQ(roofline.plot.curves.size(), 3U);
  EXPECT_EQ(roofline.numbers.header.size(), 3U);
  EXPECT_NE(roofline.note.find("doesn't know the peaks"), std::string::npos);
  EXPECT_NE(roofline.note.find("--peaks"), std::string::npos);
}

TEST_F(Roofline, IsEmptyWhereNothingWorked) {
  Database database(gpu());
  database.search(problem(1024), fabricated::variant(gpu(), 1),
                  fabricated::failed(tuner::Status::crashed, "signal 11"));
  EXPECT_TRUE(figure(database).empty());
}

}  // namespace
}  // namespace fcsa::reports
