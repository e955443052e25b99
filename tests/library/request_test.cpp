// What a caller states arrives at the kernels, field by field.
#include "library/request.h"

#include <gtest/gtest.h>

#include "tests/kernels/changed_problems.h"

namespace fcsa::library {
namespace {

using kernels::Field;

struct Statement {
  void operator()(const Field<kernels::Op>&, kernels::Op from, std::int32_t& to) const {
    to = from == kernels::Op::backward ? FCSA_BACKWARD : FCSA_FORWARD;
  }
  void operator()(const Field<kernels::DType>&, kernels::DType from, std::int32_t& to) const {
    to = from == kernels::DType::f32 ? FCSA_F32 : from == kernels::DType::bf16 ? FCSA_BF16 : FCSA_F16;
  }
  void operator()(const Field<kernels::Layout>&, kernels::Layout from, std::int32_t& to) const {
    to = from == kernels::Layout::bnhd ? FCSA_BNHD : FCSA_BHND;
  }
  void operator()(const Field<kernels::Bias>&, kernels::Bias from, std::int32_t& to) const {
    to = from == kernels::Bias::none  ? FCSA_NO_BIAS
         : from == kernels::Bias::f32 ? FCSA_BIAS_F32
                                      : FCSA_BIAS_DTYPE;
  }
  void operator()(const Field<kernels::OptionalFloat>&, kernels::OptionalFloat from, float& to) const {
    to = from.value_or(0);
  }
  template <typename T, typename To>
  void operator()(const Field<T>&, const T& from, To& to) const {
    to = from;
  }
};

fcsa_problem statement_of(const kernels::Problem& problem) {
  fcsa_problem stated = FCSA_PROBLEM_INIT;
  stated.device = FCSA_CPU;
  kernels::visit_problem(Statement{}, problem, stated);
  return stated;
}

TEST(Request, HasEveryFieldOfTheProblemThatTheCallerStates) {
  const kernels::Problem base = kernels::problem_with_everything();
  EXPECT_EQ(request_of(statement_of(base)).problem, base);
  for (const auto& [field, scope, problem] : kernels::changed_problems(base)) {
    kernels::Problem expected = problem;
    if (expected.bias_batch == expected.batch) expected.bias_batch = 0;  // as many, which is what 0 says
    EXPECT_EQ(request_of(statement_of(problem)).problem, expected) << field;
  }
}

}  // namespace
}  // namespace fcsa::library
