#include "tuner/dispatch/rule.h"

#include <cmath>

#include "kernels/family.h"

namespace fcsa::tuner {
namespace {

// Where the times don't tell a tile's fixed cost from that of its keys (one shape, or all with as many keys),
// it is taken for that of so many keys.
constexpr double kFixedCostKeys = 128;
constexpr double kWeightOfThat = 1e-2;  // a time has weight 1

kernels::Tile tile_of(const std::string& configuration) {
  const auto kernel = kernels::parse_kernel(configuration);
  return kernel.family->tile(kernel.configuration);
}

// Least squares of (modelled / measured - 1); neither number becomes negative.
kernels::Model fit(const ConfigurationTimes& times, std::span<const kernels::Problem> shapes,
                   int multiprocessors) {
  kernels::Model model{tile_of(times.configuration)};
  double rows = 0, products = 0, rows_rows = 0, rows_products = 0, products_products = 0;
  int count = 0;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (times.ms[i] == 0) continue;
    const auto load = kernels::load_of(model.tile, shapes[i], multiprocessors);
    const double r = load.rows / times.ms[i], p = load.products / times.ms[i];
    rows += r, products += p, rows_rows += r * r, rows_products += r * p, products_products += p * p;
    ++count;
  }
  const double weight = kWeightOfThat * (rows / count) * (rows / count);
  rows_rows += weight;
  rows_products -= weight * kFixedCostKeys;
  products_products += weight * kFixedCostKeys * kFixedCostKeys;
  const double determinant = rows_rows * products_products - rows_products * rows_products;
  model.ms_per_row = (rows * products_products - products * rows_products) / determinant;
  model.ms_per_product = (products * rows_rows - rows * rows_products) / determinant;
  if (model.ms_per_row < 0) {
    model.ms_per_row = 0;
    model.ms_per_product = products / products_products;
  } else if (model.ms_per_product < 0) {
    model.ms_per_row = rows / rows_rows;
    model.ms_per_product = 0;
  }
  return model;
}

}  // namespace

kernels::Rule DispatchRule::view() const {
  return {models.data(), static_cast<int>(models.size()), positions.data(),
          static_cast<int>(positions.size()), corrections.data()};
}

DispatchRule fit_rule(std::span<const ConfigurationTimes> configurations,
                      std::span<const kernels::Problem> shapes, int multiprocessors) {
  DispatchRule rule;
  for (const auto& times : configurations) rule.models.push_back(fit(times, shapes, multiprocessors));
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    rule.positions.push_back(kernels::position_of(shapes[i], multiprocessors));
    for (std::size_t j = 0; j < configurations.size(); ++j) {
      const double measured = configurations[j].ms[i];
      const double modelled = kernels::modelled_ms(rule.models[j], shapes[i], multiprocessors);
      rule.corrections.push_back(measured == 0 ? kernels::kNotMeasured
                                               : static_cast<float>(std::log(measured / modelled)));
    }
  }
  return rule;
}

}  // namespace fcsa::tuner
