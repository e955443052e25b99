#include "kernels/common/interface.h"

#include <gtest/gtest.h>

namespace fcsa::kernels {
namespace {

TEST(GridXOn, LeavesAGridThatIsNotPersistent) {
  const Launch launch{.grid_x = 100000};
  EXPECT_EQ(grid_x_on(launch, 132), 100000u);
}

TEST(GridXOn, CapsAPersistentGridAtItsBlocksOfEveryMultiprocessor) {
  const Launch launch{.grid_x = 100000, .blocks_per_multiprocessor = 2};
  EXPECT_EQ(grid_x_on(launch, 132), 264u);
  EXPECT_EQ(grid_x_on(launch, 1), 2u);
}

TEST(GridXOn, AddsNoBlocksToAPersistentGridThatIsSmallerThanTheDevice) {
  const Launch launch{.grid_x = 7, .blocks_per_multiprocessor = 2};
  EXPECT_EQ(grid_x_on(launch, 132), 7u);
}

TEST(StartOf, IsTheFirstByteOfTheTensorThatTheMapNames) {
  char q[8], k[8], v[8], o[8], workspace[8], bias[8];
  Args args;
  args.bias = bias;
  args.q = q, args.k = k, args.v = v, args.o = o, args.workspace = workspace;
  EXPECT_EQ(start_of({.tensor = TensorMap::q}, args), q);
  EXPECT_EQ(start_of({.tensor = TensorMap::k}, args), k);
  EXPECT_EQ(start_of({.tensor = TensorMap::v}, args), v);
  EXPECT_EQ(start_of({.tensor = TensorMap::o}, args), o);
  EXPECT_EQ(start_of({.tensor = TensorMap::workspace}, args), workspace);
  EXPECT_EQ(start_of({.tensor = TensorMap::bias}, args), bias);
}

TEST(StartOf, CountsBytesFromThere) {
  char workspace[8];
  Args args;
  args.workspace = workspace;
  EXPECT_EQ(start_of({.tensor = TensorMap::workspace, .first_byte = 5}, args), workspace + 5);
}

}  // namespace
}  // namespace fcsa::kernels
