// How long configurations would take on sizes that they weren't measured on, and which is the fastest there:
// the rule of dispatch tables, shared by the tuner and by emitted headers.
//
// A configuration's time is taken to be proportional to what the busiest multiprocessor has to do (whole
// tiles, whole blocks): so many milliseconds for every row of its tiles, and so many for every row and key.
// These two numbers are fitted to what was measured. What they miss on the shapes that were measured corrects
// the estimate on shapes close to those. Between two configurations it is mostly the tiles that decide: 1,300
// queries are 6 tiles of 256 rows, of which 236 rows are wasted, or 7 of 192, of which 44 are.
#pragma once

#include <cmath>

#include "kernels/common/problem.h"

namespace fcsa::kernels {

// What a block (CPU: a task) works on at a time, and how many blocks share a tile.
struct Tile {
  int rows = 1;
  int keys = 1;
  bool packs_heads = false;  // rows are those of all query heads that share a key/value head
  bool pairs = false;        // causal: a long tile and a short one are one piece of work
  int blocks = 1;            // share the keys of a tile
  int split_until = 0;       // keys are split over blocks until the grid has this many; 0: never
};

// Of the busiest multiprocessor.
struct Load {
  double rows = 0;      // of its tiles
  double products = 0;  // rows x keys of them
};

// Of one configuration.
struct Model {
  Tile tile;
  double ms_per_row = 0, ms_per_product = 0;
};

// Where a shape lies among others: log2 of queries, keys, and tiles of queries for each multiprocessor.
struct Position {
  double nq = 0, nk = 0, fill = 0;
};

inline constexpr float kNotMeasured = 1e30f;  // as a correction

// Models and shapes of one class, and for each shape and model the log of measured over modelled time.
struct Rule {
  const Model* models = nullptr;
  int model_count = 0;
  const Position* shapes = nullptr;
  int shape_count = 0;                 // at least 1
  const float* corrections = nullptr;  // [shape_count][model_count]; one of each shape's is measured
};

struct Prediction {
  int model = -1;   // the fastest; -1: none fits
  int nearest = 0;  // shape
  double ms = 0;
};

inline Load load_of(const Tile& tile, const Problem& problem, int multiprocessors) {
  const int packed = tile.packs_heads ? problem.heads / problem.kv_heads : 1;
  const long long tiles = ceil_div(1LL * problem.nq * packed, tile.rows);  // of a head
  const long long packs = 1LL * problem.batch * (problem.heads / packed);
  const double heads = static_cast<double>(packs);
  const Visibility visibility = visibility_of(problem);
  const double key_tiles = static_cast<double>(ceil_div(problem.nk, tile.keys));
  const double mean_key_tiles =
      visibility.full()
          ? key_tiles
          : std::fmin(key_tiles, 0.5 + visibility.mean_keys_of_tiles(static_cast<double>(tile.rows) / packed,
                                                                     static_cast<double>(tiles)) /
                                           tile.keys);
  const double splits = std::fmax(
      1.0, std::fmin(std::floor(tile.split_until / (heads * static_cast<double>(tiles))), key_tiles));
  const double parts = splits * tile.blocks;
  const auto share = [&](long long of_head) {
    return static_cast<double>(of_head) * heads * parts / multiprocessors;
  };
  const double keys = std::ceil(mean_key_tiles / parts) * tile.keys;
  if (visibility.grows() && tile.pairs) {  // whole pairs first, then the tiles left in the middle
    const double rows = (std::ceil(share(tiles / 2)) + std::ceil(share(ceil_div(tiles, 2)))) * tile.rows;
    return {rows, rows * keys};
  }
  const double busiest = share(tiles);
  if (visibility.full()) return {std::ceil(busiest) * tile.rows, std::ceil(busiest) * tile.rows * keys};
  // Tiles of different lengths even out, but none ends before the longest.
  const double longest = std::ceil(key_tiles / parts) * tile.keys;
  return {std::fmax(busiest, 1.0) * tile.rows, std::fmax(busiest * keys, longest) * tile.rows};
}

inline double modelled_ms(const Model& model, const Problem& problem, int multiprocessors) {
  const Load load = load_of(model.tile, problem, multiprocessors);
  return load.rows * model.ms_per_row + load.products * model.ms_per_product;
}

inline Position position_of(const Problem& problem, int multiprocessors) {
  constexpr int kRows = 64;
  constexpr double kFull = 64;  // with more tiles than this a device is busy, and more make no difference
  const double tiles = static_cast<double>(problem.batch) * problem.heads *
                       static_cast<double>(ceil_div(problem.nq, kRows)) / multiprocessors;
  return {std::log2(static_cast<double>(problem.nq)), std::log2(static_cast<double>(problem.nk)),
          std::log2(std::fmin(tiles, kFull))};
}

inline double squared_distance(const Position& a, const Position& b) {
  const double nq = a.nq - b.nq, nk = a.nk - b.nk, fill = a.fill - b.fill;
  return nq * nq + nk * nk + fill * fill;
}

// The modelled time, corrected by what the model misses on the shapes around, which count with the inverse
// square of their squared distances. No correction counts as much as a shape 1.4 octaves away does, but not
// more than the nearest: beyond what was measured half of a correction lasts.
inline double corrected_ms(const Rule& rule, int model, const Position& position, double modelled_ms) {
  double weights = 0, sum = 0, most = 0;
  for (int i = 0; i < rule.shape_count; ++i) {
    const float correction = rule.corrections[i * rule.model_count + model];
    if (correction >= kNotMeasured) continue;
    const double distance = squared_distance(rule.shapes[i], position) + 1e-6;
    const double weight = 1 / (distance * distance);
    weights += weight;
    sum += weight * correction;
    most = std::fmax(most, weight);
  }
  if (most == 0) return modelled_ms;
  return modelled_ms * std::exp(sum / (weights + std::fmin(0.25, most)));
}

inline int nearest_shape(const Rule& rule, const Position& position) {
  int nearest = 0;
  double least = HUGE_VAL;
  for (int i = 0; i < rule.shape_count; ++i) {
    const double distance = squared_distance(rule.shapes[i], position);
    if (distance >= least) continue;
    nearest = i;
    least = distance;
  }
  return nearest;
}

// Squared, from the nearest of the shapes that a configuration was measured on.
inline double distance_measured(const Rule& rule, int model, const Position& position) {
  double least = HUGE_VAL;
  for (int i = 0; i < rule.shape_count; ++i)
    if (rule.corrections[i * rule.model_count + model] < kNotMeasured)
      least = std::fmin(least, squared_distance(rule.shapes[i], position));
  return least;
}

// The configuration with the shortest predicted time, the first of several, of those for which fits(model):
// first of those that were measured on the nearest shape or at most 1.4 times as far away, since where others
// are known, a wrong prediction would cost, and far from all shapes no prediction is sure; where none of
// these fits, of all.
template <typename Fits>
inline Prediction predict(const Rule& rule, const Problem& problem, int multiprocessors, const Fits& fits) {
  const Position position = position_of(problem, multiprocessors);
  Prediction best;
  best.nearest = nearest_shape(rule, position);
  best.ms = HUGE_VAL;
  const double near = squared_distance(rule.shapes[best.nearest], position);
  for (const bool far : {false, true}) {
    for (int i = 0; i < rule.model_count; ++i) {
      if (!fits(i) || (!far && distance_measured(rule, i, position) > 2 * near)) continue;
      const double modelled = modelled_ms(rule.models[i], problem, multiprocessors);
      const double ms = corrected_ms(rule, i, position, modelled);
      if (ms >= best.ms) continue;
      best.model = i;
      best.ms = ms;
    }
    if (best.model >= 0) return best;
  }
  return best;
}

inline Prediction predict(const Rule& rule, const Problem& problem, int multiprocessors) {
  return predict(rule, problem, multiprocessors, [](int) { return true; });
}

}  // namespace fcsa::kernels
