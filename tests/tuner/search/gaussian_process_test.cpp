#include "tuner/search/gaussian_process.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/tuner/fake_family.h"

namespace fcsa::tuner {
namespace {

using testing::parameter;
using testing::ToyFamily;

// "a" decides, "b" does nothing.
ToyFamily valley_family() {
  return {"toy",
          {parameter("a", {1, 2, 4, 8, 16, 32, 64, 128}, 1), parameter("b", {1, 2, 3, 4, 5, 6, 7, 8}, 1)}};
}

double value_at(const Space& space, std::size_t position) {
  const double log_a = std::log2(space.at(position).at("a"));
  return (log_a - 3) * (log_a - 3) / 10;
}

struct Fitted {
  Fitted() : process(features.axes()) {
    std::mt19937_64 random(1);
    for (std::size_t i = 0; i < 24; ++i) positions.push_back(random() % space.size());
    for (const auto position : positions) points.push_back(features.of(position));
    values.resize(static_cast<Eigen::Index>(positions.size()));
    for (std::size_t i = 0; i < positions.size(); ++i)
      values[static_cast<Eigen::Index>(i)] = value_at(space, positions[i]);
    process.fit(points, values);
    std::vector<Features::Digits> columns;
    for (std::size_t position = 0; position < space.size(); ++position)
      columns.push_back(features.of(position));
    process.set_columns(columns);
    for (const auto& point : points) process.add_row(point);
  }

  ToyFamily toy = valley_family();
  Space space{toy, {}, {}};
  Features features{space};
  GaussianProcess process;
  std::vector<std::size_t> positions;
  std::vector<Features::Digits> points;
  Eigen::VectorXd values;
};

TEST(GaussianProcess, PredictsWhatItWasNotToldFromWhatMatters) {
  Fitted fitted;
  const auto prediction = fitted.process.predict(fitted.values);
  for (std::size_t position = 0; position < fitted.space.size(); ++position)
    EXPECT_NEAR(prediction.mean[static_cast<Eigen::Index>(position)], value_at(fitted.space, position), 0.1)
        << position;
}

TEST(GaussianProcess, IsSureOfWhatItWasToldAndNotOfTheRest) {
  Fitted fitted;
  const auto prediction = fitted.process.predict(fitted.values);
  const auto at = [&](std::size_t position) {
    return prediction.deviation[static_cast<Eigen::Index>(position)];
  };
  double untold = 0;
  for (std::size_t position = 0; position < fitted.space.size(); ++position)
    untold = std::max<double>(untold, at(position));
  for (const auto position : fitted.positions) EXPECT_LT(at(position), untold / 2);
}

TEST(GaussianProcess, ARowWithoutAValueLeavesTheMeanAndMakesItSureAroundThere) {
  Fitted fitted;
  const auto before = fitted.process.predict(fitted.values);
  Eigen::Index unsure = 0;
  before.deviation.maxCoeff(&unsure);
  fitted.process.add_row(fitted.features.of(static_cast<std::size_t>(unsure)));
  const auto after = fitted.process.predict(fitted.values);
  EXPECT_LT(after.deviation[unsure], before.deviation[unsure] / 2);
  EXPECT_TRUE(after.mean.isApprox(before.mean, 1e-5F));
  fitted.process.drop_rows_after(fitted.points.size());
  EXPECT_TRUE(fitted.process.predict(fitted.values).deviation.isApprox(before.deviation, 1e-2F));
}

TEST(GaussianProcess, StaysFiniteWhenAllValuesAreEqualAndPointsRepeat) {
  Fitted fitted;
  const Eigen::VectorXd equal = Eigen::VectorXd::Constant(fitted.values.size(), 3);
  auto points = fitted.points;
  points.back() = points.front();
  fitted.process.fit(points, equal);
  fitted.process.set_columns(points);
  for (const auto& point : points) fitted.process.add_row(point);
  const auto prediction = fitted.process.predict(equal);
  EXPECT_TRUE(prediction.mean.isFinite().all());
  EXPECT_TRUE(prediction.deviation.isFinite().all());
}

TEST(Features, ValuesThatHalveAlikeAreCloserThanTheirSizesSay) {
  const ToyFamily odd("toy", {parameter("block", {32, 48, 64, 96, 112, 128}, 32)});
  const Space space(odd, {}, {});
  const Features features(space);
  ASSERT_EQ(features.axes().size(), 2u);
  const auto& halvings = features.axes()[1].squared_distances;
  EXPECT_EQ(halvings(0, 5), 0);                      // 32 and 128
  EXPECT_GT(halvings(0, 1), 0);                      // 32 and 48
  EXPECT_GT(halvings(0, 4), halvings(0, 3) + 1e-9);  // 112 = 16 * 7; 96 = 32 * 3
}

TEST(Features, AParameterWithoutAChoiceSaysNothing) {
  const ToyFamily fixed("toy", {parameter("a", {4}, 4), parameter("b", {0, 1}, 0)});
  const Space space(fixed, {}, {});
  EXPECT_EQ(Features(space).axes().size(), 1u);
}

}  // namespace
}  // namespace fcsa::tuner
