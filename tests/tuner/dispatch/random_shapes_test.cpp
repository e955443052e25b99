#include "tuner/dispatch/random_shapes.h"

#include <gtest/gtest.h>

#include <set>

namespace fcsa::tuner {
namespace {

using kernels::Problem;

// As many tokens at 512 and at 8,192 keys.
std::vector<Problem> tuned() {
  Problem a, b;
  a.heads = b.heads = 32;
  a.kv_heads = b.kv_heads = 8;
  a.batch = 32, a.nq = a.nk = 512;
  b.batch = 2, b.nq = b.nk = 8192;
  return {a, b};
}

TEST(RandomShapes, LieWithinTheRangeThatWasTuned) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) {
    const Problem p = random_shape(tuned(), random);
    kernels::validate(p);
    EXPECT_EQ(kernels::class_text(p), kernels::class_text(tuned()[0]));
    EXPECT_GE(p.nq, 512);
    EXPECT_LE(p.nq, 8192);
    EXPECT_EQ(p.nq, p.nk);
    EXPECT_GE(p.heads, 8);
    EXPECT_LE(p.heads, 32);
    EXPECT_EQ(p.heads / p.kv_heads, 4);
    EXPECT_LE(1.0 * p.batch * p.heads * p.nq, 1.05 * 32 * 32 * 512) << kernels::to_text(p);
  }
}

TEST(RandomShapes, AreNotMultiplesOfAnything) {
  std::mt19937_64 random(1);
  std::set<int> lengths, heads, batches;
  int odd = 0;
  for (int i = 0; i < 100; ++i) {
    const Problem p = random_shape(tuned(), random);
    odd += p.nq % 2;
    lengths.insert(p.nq), heads.insert(p.heads), batches.insert(p.batch);
  }
  EXPECT_GT(odd, 30);
  EXPECT_GT(lengths.size(), 80u);
  EXPECT_GT(heads.size(), 5u);
  EXPECT_GT(batches.size(), 8u);
}

TEST(RandomShapes, DrawQueriesAndKeysApartWhereTheyWereTunedApart) {
  auto problems = tuned();
  problems[0].nq = 1;
  std::mt19937_64 random(1);
  int different = 0;
  for (int i = 0; i < 100; ++i) {
    const Problem p = random_shape(problems, random);
    EXPECT_LE(p.nq, p.nk);
    different += p.nq != p.nk;
  }
  EXPECT_GT(different, 50);
}

TEST(RandomShapes, AreEqualForEqualSeeds) {
  std::mt19937_64 one(5), other(5);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(random_shape(tuned(), one), random_shape(tuned(), other));
}

}  // namespace
}  // namespace fcsa::tuner
