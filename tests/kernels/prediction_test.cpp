#include "kernels/common/prediction.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace fcsa::kernels {
namespace {

TEST(Load, IsOfWholeTilesOfRowsAndKeys) {
  const Load load = load_of({.rows = 64, .keys = 32}, {.nq = 65, .nk = 33}, 1);
  EXPECT_EQ(load.rows, 128);
  EXPECT_EQ(load.products, 128 * 64);
}

TEST(Load, IsOfTheMultiprocessorThatHasTheMostTiles) {
  const Tile tile{.rows = 64, .keys = 32};
  EXPECT_EQ(load_of(tile, {.heads = 5, .nq = 64, .nk = 32}, 4).rows, 128);
  EXPECT_EQ(load_of(tile, {.heads = 4, .nq = 64, .nk = 32}, 4).rows, 64);
  EXPECT_EQ(load_of(tile, {.heads = 1, .nq = 64, .nk = 32}, 4).rows, 64);
}

TEST(Load, PutsTheHeadsThatShareAKeyValueHeadIntoOneTile) {
  const Problem problem{.heads = 32, .kv_heads = 8, .nq = 1, .nk = 100};
  EXPECT_EQ(load_of({.rows = 16, .keys = 1}, problem, 1).rows, 32 * 16);
  EXPECT_EQ(load_of({.rows = 16, .keys = 1, .packs_heads = true}, problem, 1).rows, 8 * 16);
}

TEST(Load, SharesTheKeysOfATileAmongBlocks) {
  const Problem problem{.nq = 1, .nk = 1000};
  EXPECT_EQ(load_of({.rows = 1, .keys = 100, .blocks = 5}, problem, 5).products, 200);
  EXPECT_EQ(load_of({.rows = 1, .keys = 100, .blocks = 5}, problem, 1).products, 1000);
}

TEST(Load, SplitsKeysUntilTheGridHasItsBlocksAndNotIntoLessThanATile) {
  const Tile tile{.rows = 1, .keys = 100, .split_until = 8};
  EXPECT_EQ(load_of(tile, {.heads = 2, .nq = 1, .nk = 1000}, 8).products, 300);  // 4 parts of 10 tiles
  EXPECT_EQ(load_of(tile, {.heads = 9, .nq = 1, .nk = 1000}, 9).products, 1000);
  EXPECT_EQ(load_of(tile, {.nq = 1, .nk = 200}, 8).products, 100);
}

// Key tiles that causal tiles of rows read, one by one.
double causal_keys(int nq, int nk, int rows) {
  double sum = 0;
  const int tiles = (nq + rows - 1) / rows;
  for (int i = 0; i < tiles; ++i) sum += std::clamp(std::min(nq, (i + 1) * rows) + nk - nq, 0, nk);
  return sum / tiles;
}

TEST(Load, CountsTheKeysThatCausalTilesRead) {
  for (const int nq : {1, 63, 64, 100, 1000}) {
    for (const int nk : {1, 50, 64, 200, 1000, 3000}) {
      for (const int rows : {16, 64, 256}) {
        const double tiles = static_cast<double>(ceil_div(nq, rows));
        EXPECT_NEAR(Visibility({.nq = nq, .nk = nk, .causal = true}).mean_keys_of_tiles(rows, tiles),
                    causal_keys(nq, nk, rows), 1e-9)
            << nq << " " << nk << " " << rows;
      }
    }
  }
}

TEST(Load, OfCausalTilesEvensOutOrIsThatOfTheLongest) {
  const Tile tile{.rows = 64, .keys = 64};
  const Problem problem{.nq = 1024, .nk = 1024, .causal = true};
  EXPECT_DOUBLE_EQ(load_of(tile, problem, 1).products,
                   1024 * 9 * 64);  // 8.5 tiles of keys, and a part of one
  EXPECT_DOUBLE_EQ(load_of(tile, problem, 100).products, 64 * 1024);
}

TEST(Load, OfPairedCausalTilesIsOfWholePairs) {
  const Tile tile{.rows = 64, .keys = 64, .pairs = true};
  const Problem problem{.nq = 1024, .nk = 1024, .causal = true};
  EXPECT_EQ(load_of(tile, problem, 8).rows, 128);
  EXPECT_EQ(load_of(tile, problem, 7).rows, 256);
}

TEST(Load, OfPairedCausalTilesHasThoseLeftInTheMiddleLast) {
  const Tile tile{.rows = 64, .keys = 64, .pairs = true};
  const Problem problem{.nq = 17 * 64, .nk = 17 * 64, .causal = true};  // 8 pairs and a tile
  EXPECT_EQ(load_of(tile, problem, 9).rows, 2 * 64);
  EXPECT_EQ(load_of(tile, problem, 8).rows, 3 * 64);
  EXPECT_EQ(load_of(tile, {.nq = 64, .nk = 64, .causal = true}, 8).rows, 64);
}

// Two configurations whose tiles have 192 and 256 rows and the same speed.
struct TwoTiles {
  std::vector<Model> models = {{{.rows = 192, .keys = 64}, 0, 1e-9}, {{.rows = 256, .keys = 64}, 0, 1e-9}};
  std::vector<Position> positions;
  std::vector<float> corrections;

  void measured(const Problem& problem, float first, float second) {
    positions.push_back(position_of(problem, 1));
    corrections.insert(corrections.end(), {first, second});
  }
  Prediction predicted(const Problem& problem) const {
    return predict(
        {models.data(), 2, positions.data(), static_cast<int>(positions.size()), corrections.data()}, problem,
        1);
  }
};

TEST(Prediction, TakesTheTilesThatWasteTheFewestRows) {
  TwoTiles rule;
  rule.measured({.nq = 1024, .nk = 1024}, 0, 0);
  EXPECT_EQ(rule.predicted({.nq = 1024, .nk = 1024}).model, 1);
  EXPECT_EQ(rule.predicted({.nq = 1300, .nk = 1024}).model, 0);
}

TEST(Prediction, BelievesWhatWasMeasuredNearby) {
  TwoTiles rule;
  rule.measured({.nq = 1300, .nk = 1024}, 0.5f, 0);
  const auto prediction = rule.predicted({.nq = 1300, .nk = 1024});
  EXPECT_EQ(prediction.model, 1);
  EXPECT_NEAR(prediction.ms, 1536 * 1024 * 1e-9, 1e-9);
}

TEST(Prediction, BelievesItLessFurtherAway) {
  TwoTiles rule;
  rule.measured({.nq = 1300, .nk = 1024}, 0.5f, 0.5f);
  const double modelled = 192 * 1024 * 1e-9;
  EXPECT_NEAR(rule.predicted({.nq = 192, .nk = 1024}).ms / modelled, std::exp(0.25), 1e-6);
}

TEST(Prediction, NamesTheNearestShapeAndTakesNothingThatWasNotMeasuredThere) {
  TwoTiles rule;
  rule.measured({.nq = 1300, .nk = 1024}, kNotMeasured, 0);
  rule.measured({.nq = 8000, .nk = 1024}, 0, 0);
  EXPECT_EQ(rule.predicted({.nq = 1310, .nk = 1024}).model, 1);
  EXPECT_EQ(rule.predicted({.nq = 1310, .nk = 1024}).nearest, 0);
  EXPECT_EQ(rule.predicted({.nq = 7900, .nk = 1024}).nearest, 1);
}

// Of two shapes that are both far away the nearer need not be the likelier.
TEST(Prediction, FarFromAllShapesTakesWhatWasMeasuredNotMuchFurtherAway) {
  TwoTiles rule;
  rule.measured({.nq = 192, .nk = 1024}, 0, kNotMeasured);
  rule.measured({.nq = 256, .nk = 1024}, kNotMeasured, 0);
  const Problem far{.nq = 8, .nk = 1024};  // 4.6 and 5 octaves away
  rule.models[0].ms_per_product *= 2;
  EXPECT_EQ(rule.predicted(far).model, 1);
  EXPECT_EQ(rule.predicted(far).nearest, 0);
  rule.positions[1].nq += 2;
  EXPECT_EQ(rule.predicted(far).model, 0) << "measured too far away";
}

TEST(Position, TakesAllFullDevicesForAlike) {
  EXPECT_LT(position_of({.nq = 64}, 10).fill, position_of({.batch = 100, .nq = 64}, 10).fill);
  EXPECT_EQ(position_of({.batch = 1000, .nq = 64}, 10).fill, position_of({.batch = 2000, .nq = 64}, 10).fill);
}

}  // namespace
}  // namespace fcsa::kernels
