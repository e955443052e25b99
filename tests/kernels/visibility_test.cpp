#include "kernels/common/visibility.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/problem.h"

namespace fcsa::kernels {
namespace {

// The rule as it is written in the documentation of fcsa_problem.
bool causal_rule(int query, int key, int nq, int nk) {
  return key <= query + (nk - nq);
}

template <typename Check>
void for_every_shape(const Check& check) {
  for (const bool causal : {false, true})
    for (int nq = 1; nq <= 9; ++nq)
      for (int nk = 1; nk <= 9; ++nk) check(Visibility{nq, nk, causal});
}

TEST(Visibility, IsTheRuleOfEveryPair) {
  for_every_shape([](const Visibility& v) {
    double pairs = 0;
    for (int i = 0; i < v.nq; ++i)
      for (int j = 0; j < v.nk; ++j) {
        EXPECT_EQ(v.sees(i, j), !v.causal || causal_rule(i, j, v.nq, v.nk));
        pairs += v.sees(i, j);
      }
    EXPECT_EQ(v.pairs(), pairs) << v.nq << " x " << v.nk;
  });
}

TEST(Visibility, RangesHaveWhatAnyOfATileSeesOrIsSeenBy) {
  for_every_shape([](const Visibility& v) {
    for (int first = 0; first < v.nq; ++first)
      for (int end = first + 1; end <= v.nq + 2; ++end) {
        const Range keys = v.keys_of({first, end});
        for (int j = 0; j < v.nk; ++j) {
          bool seen = false;
          for (int i = first; i < std::min(end, v.nq); ++i) seen = seen || v.sees(i, j);
          EXPECT_EQ(keys.first <= j && j < keys.end, seen);
        }
      }
    for (int first = 0; first < v.nk; ++first)
      for (int end = first + 1; end <= v.nk; ++end) {
        const Range queries = v.queries_of({first, end});
        for (int i = 0; i < v.nq; ++i) {
          bool sees = false;
          for (int j = first; j < end; ++j) sees = sees || v.sees(i, j);
          EXPECT_EQ(queries.first <= i && i < queries.end, sees);
        }
      }
  });
}

TEST(Visibility, ATileIsWholeWhereEveryPairIsVisible) {
  for_every_shape([](const Visibility& v) {
    for (int query = 0; query + 1 < v.nq; ++query)
      for (int key = 0; key + 1 < v.nk + 2; ++key) {
        const bool all = key + 1 < v.nk && v.sees(query, key) && v.sees(query, key + 1) &&
                         v.sees(query + 1, key) && v.sees(query + 1, key + 1);
        EXPECT_EQ(v.whole({query, query + 2}, {key, key + 2}), all);
      }
  });
}

TEST(Visibility, WhatLiesPastTheEndCountsAsTheLast) {
  for_every_shape([](const Visibility& v) {
    const Range last = v.keys_of(v.nq - 1), beyond = v.keys_of({v.nq + 3, v.nq + 5});
    EXPECT_EQ(beyond.first, last.first);
    EXPECT_EQ(beyond.end, last.end);
    EXPECT_EQ(v.keys_of_all({v.nq - 1, v.nq + 5}).end, last.end);
  });
}

TEST(Visibility, IsFullWhereNothingIsHiddenWhateverTheLengths) {
  for_every_shape([](const Visibility& v) { EXPECT_TRUE(!v.full() || v.whole({0, v.nq}, {0, v.nk})); });
  EXPECT_FALSE(Visibility({.nq = 1, .nk = 1, .causal = true}).full());
}

TEST(Range, PartsAndBlocksHaveWhatTheRangeHas) {
  for (int first = 0; first <= 9; ++first)
    for (int end = 0; end <= 9; ++end) {
      const Range range{first, end};
      EXPECT_EQ(range.size(), std::max(0, end - first));
      for (int begin = 0; begin <= 9; ++begin) {
        const Range part = part_of(range, begin, 4);
        for (int i = 0; i < 4; ++i) EXPECT_EQ(part.has(i), range.has(begin + i)) << first << " " << end;
        const Range four{begin, begin + 4};
        EXPECT_EQ(range.size() > 0 && range.meets(four), part.size() > 0);
      }
      const Range blocks = blocks_of(range, 4);
      for (int block = 0; block <= 3; ++block)
        EXPECT_EQ(blocks.has(block), range.size() > 0 && range.meets({4 * block, 4 * block + 4}));
    }
}

TEST(Visibility, MeanKeysOfTilesIsTheMeanOfWhatTheTilesRead) {
  for_every_shape([](const Visibility& v) {
    for (const int rows : {1, 2, 3, 4, 8}) {
      const int tiles = static_cast<int>(ceil_div(v.nq, rows));
      double sum = 0;
      for (int i = 0; i < tiles; ++i) sum += static_cast<double>(v.keys_of({i * rows, (i + 1) * rows}).end);
      EXPECT_NEAR(v.mean_keys_of_tiles(rows, tiles), sum / tiles, 1e-9)
          << v.nq << " x " << v.nk << " by " << rows;
    }
  });
}

}  // namespace
}  // namespace fcsa::kernels
