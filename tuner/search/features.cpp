#include "tuner/search/features.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>

namespace fcsa::tuner {
namespace {

constexpr double kDifferent = 0.1;  // of the squared distance of two values that differ
constexpr int kMostHalvings = 5;

// Where a value is between the first (0) and the last (1): the mean of its place in the list and of its
// logarithm, where there is one.
std::vector<double> places(const std::vector<int>& values) {
  std::vector<double> places(values.size(), 0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    places[i] = static_cast<double>(i) / static_cast<double>(values.size() - 1);
    if (values.front() <= 0) continue;
    const double range = std::log2(static_cast<double>(values.back()) / values.front());
    places[i] = (places[i] + std::log2(static_cast<double>(values[i]) / values.front()) / range) / 2;
  }
  return places;
}

int halvings(int value) {
  if (value == 0) return kMostHalvings;
  return std::min(std::countr_zero(static_cast<unsigned>(std::abs(value))), kMostHalvings);
}

std::vector<double> halving_places(const std::vector<int>& values) {
  std::vector<double> places;
  places.reserve(values.size());
  for (const int value : values) places.push_back(static_cast<double>(halvings(value)) / kMostHalvings);
  return places;
}

Eigen::MatrixXd squared_distances(const std::vector<double>& at, double different) {
  const auto count = static_cast<Eigen::Index>(at.size());
  const Eigen::Map<const Eigen::VectorXd> column(at.data(), count);
  const Eigen::ArrayXXd apart = column.replicate(1, count) - column.transpose().replicate(count, 1);
  Eigen::MatrixXd distances = different + (1 - different) * apart.square();
  distances.diagonal().setZero();
  return distances;
}

bool all_equal(const std::vector<double>& values) {
  return std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end();
}

}  // namespace

Features::Features(const Space& space) : space_(&space) {
  for (std::size_t parameter = 0; parameter < space.parameters().size(); ++parameter) {
    const auto& values = space.parameters()[parameter].values;
    if (values.size() < 2) continue;
    add_axis(parameter, {squared_distances(places(values), kDifferent), false});
    const auto halved = halving_places(values);
    if (values.size() > 2 && !all_equal(halved)) add_axis(parameter, {squared_distances(halved, 0), true});
  }
}

void Features::add_axis(std::size_t parameter, Axis axis) {
  parameters_.push_back(parameter);
  axes_.push_back(std::move(axis));
}

Features::Digits Features::of(std::size_t position) const {
  const auto digits = space_->digits(position);
  Digits places;
  places.reserve(parameters_.size());
  for (const auto parameter : parameters_) places.push_back(static_cast<std::uint16_t>(digits[parameter]));
  return places;
}

}  // namespace fcsa::tuner
