#include "kernels/cpu/instruction_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

namespace fcsa::kernels::cpu {
namespace {

TEST(InstructionSet, OfTheHostHasCompileFlags) {
  EXPECT_NO_THROW(compile_flags_for(host_instruction_set()));
}

TEST(InstructionSet, FlagsNameTheInstructionSetRatherThanTheMachine) {
  for (const char* name : {"avx512", "avx2", "neon", "generic"}) {
    const auto flags = compile_flags_for(name);
    EXPECT_EQ(std::count(flags.begin(), flags.end(), "-march=native"), 0) << name;
  }
  const auto flags = compile_flags_for("avx512");
  EXPECT_EQ(std::count(flags.begin(), flags.end(), "-mavx512f"), 1);
}

TEST(InstructionSet, RefusesANameItDoesNotKnow) {
  EXPECT_THROW(compile_flags_for("sse9"), std::invalid_argument);
}

}  // namespace
}  // namespace fcsa::kernels::cpu
