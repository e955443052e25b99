// What emitted headers choose and pass on, against the tuner.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>
#include <set>

#include "tests/kernels/changed_problems.h"
#include "tests/tuner/emit/emitted_table.h"
#include "tests/tuner/emit/sample_tables.h"

namespace fcsa::tuner {
namespace {

using kernels::DType;
using kernels::Problem;
using kernels::Softmax;

using testing::attention_of;

TEST(EmittedSelection, HasEveryFieldOfTheProblemThatACallStates) {
  const Problem base = kernels::problem_with_everything();
  for (const auto& [field, scope, problem] : kernels::changed_problems(base)) {
    Problem expected = problem;
    if (problem.bias == kernels::Bias::f32 && problem.dtype == DType::f32)
      expected = base;  // one and the same
    EXPECT_EQ(emitted::detail::problem_of(attention_of(problem), problem.op), expected) << field;
  }
}

TEST(EmittedSelection, TakesTheTraitsAndArgumentsThatTheTunerTook) {
  for (const DType dtype : {DType::f32, DType::f16}) {
    for (const float scale : {-8.0f, 8.0f, 10.5f, 43.0f, 43.5f, 100.0f}) {
      for (int bits = 0; bits < 16; ++bits) {
        Problem p;
        p.dtype = dtype;
        p.scale = scale;
        p.batch = 2, p.heads = 6, p.kv_heads = 3, p.nq = 17, p.nk = 33;
        p.causal = bits & 1;
        p.l2norm_qk = bits & 2;
        if (bits & 4) p.logit_bound = 50.0f;
        if (bits & 8) p.layout = kernels::Layout::bnhd, p.key_mask = true, p.groups = 2;
        EXPECT_EQ(kernels::traits_of(emitted::detail::problem_of(attention_of(p), p.op)),
                  kernels::traits_of(p))
            << kernels::to_text(p);
        const kernels::Args expected = kernels::shape_args(p),
                            args = emitted::detail::args_of(attention_of(p), p.op);
        EXPECT_EQ(args.bound, expected.bound);
        EXPECT_EQ(args.key_mask_stride, expected.key_mask_stride);
        EXPECT_EQ(args.o_strides.head, expected.o_strides.head);
        EXPECT_EQ(args.v_strides.batch, expected.v_strides.batch);
        EXPECT_EQ(args.q_strides.row, expected.q_strides.row);
      }
    }
  }
}

TEST(EmittedSelection, TakesTheBiasTheScalePerHeadAndTf32ThatTheTunerTook) {
  for (int bits = 0; bits < 64; ++bits) {
    Problem p;
    p.dtype = bits & 1 ? DType::bf16 : DType::f32;
    p.batch = 4, p.heads = 6, p.kv_heads = 3, p.nq = 17, p.nk = 33;
    p.layout = kernels::Layout::bnhd;
    p.head_scale = bits & 2;
    p.allow_tf32 = (bits & 4) && p.dtype == DType::f32;
    if (bits & 8) p.bias = bits & 1 ? kernels::Bias::f32 : kernels::Bias::same;
    if (bits & 8 && bits & 16) p.bias_batch = 2, p.bias_heads = 1;
    if (bits & 32) p.logit_bound = 20.0f;
    EXPECT_EQ(kernels::traits_of(emitted::detail::problem_of(attention_of(p), p.op)), kernels::traits_of(p))
        << kernels::to_text(p);
    const kernels::Args expected = kernels::shape_args(p),
                        args = emitted::detail::args_of(attention_of(p), p.op);
    EXPECT_EQ(args.bias_batch, expected.bias_batch);
    EXPECT_EQ(args.bias_heads, expected.bias_heads);
    EXPECT_EQ(args.bias_strides.batch, expected.bias_strides.batch);
    EXPECT_EQ(args.bias_strides.head, expected.bias_strides.head);
    EXPECT_EQ(args.bias_strides.row, expected.bias_strides.row);
    EXPECT_EQ(args.bias != nullptr, p.bias != kernels::Bias::none);
    EXPECT_EQ(args.head_scale != nullptr, p.head_scale);
  }
}

int size_up_to(int largest, std::mt19937& random) {
  return static_cast<int>(std::exp2(std::log2(largest) * (random() % 1000) / 1000.0));
}

// Shapes all over, and three configurations of different tiles that some of them were measured with.
DispatchTable table_of_random_shapes(std::mt19937& random) {
  DispatchTable table = simt_table("sm_80");
  table.classes.resize(1);
  DispatchClass& c = table.classes.front();
  c.configurations = {"simt.forward{}", "simt.forward{warps=2}", "simt.forward{warps=8}"};
  Problem p = c.entries.front().problem;
  c.entries.clear();
  for (int i = 0; i < 40; ++i) {
    p.nq = size_up_to(65536, random), p.nk = size_up_to(65536, random), p.batch = size_up_to(64, random);
    DispatchEntry entry{.problem = p, .choice = random() % 3};
    for (std::size_t j = 0; j < 3; ++j)
      entry.times_ms.push_back(j == entry.choice || random() % 2
                                   ? 1e-9 * p.nq * p.nk * p.batch * (1 + random() % 100 / 1000.0)
                                   : 0);
    c.entries.push_back(entry);
  }
  c.rule = fit_rule(c, table.device.target.multiprocessors);
  return table;
}

// Kernels that serve every demand.
constexpr unsigned char kServeAll[] = {15, 15, 15, 15};

TEST(EmittedSelection, ChoosesWhatTheTunerChooses) {
  std::mt19937 random(7);
  const DispatchTable table = table_of_random_shapes(random);
  const DispatchClass& c = table.classes.front();
  std::vector<emitted::detail::Shape> shapes;
  for (const auto& entry : c.entries) {
    const Problem& p = entry.problem;
    shapes.push_back({p.nq, p.nk, p.batch, p.heads, p.kv_heads, emitted::Layout::bhnd,
                      static_cast<int>(entry.choice), 1.0});
  }
  const int variants[] = {0, 1, 2};
  const emitted::detail::Class of{c.traits, 0, static_cast<int>(shapes.size()), 0, 0, 3, 0};
  const emitted::detail::Table emitted_table{&of,
                                             1,
                                             shapes.data(),
                                             c.rule.positions.data(),
                                             c.rule.models.data(),
                                             variants,
                                             c.rule.corrections.data(),
                                             kServeAll,
                                             table.device.target.multiprocessors};
  std::set<int> chosen;
  for (int i = 0; i < 500; ++i) {
    Problem p = c.entries[random() % c.entries.size()].problem;
    if (i % 2) p.nq = size_up_to(65536, random), p.nk = size_up_to(65536, random);
    const Choice expected = choose(table, p);
    const auto choice = emitted::detail::choose(emitted_table, attention_of(p), emitted::Op::forward);
    ASSERT_NE(choice.shape, nullptr);
    EXPECT_EQ(c.configurations.at(static_cast<std::size_t>(choice.variant)), expected.configuration)
        << kernels::to_text(p);
    chosen.insert(choice.variant);
  }
  EXPECT_EQ(chosen.size(), 3u);
}

TEST(EmittedSelection, RemembersAProblemWithAllOfItsFieldsAndItsTable) {
  static const emitted::detail::Class exact{{}, 0, 0, 3, 0, 0, 0}, other{{}, 0, 0, 5, 0, 0, 0};
  static const unsigned char served[] = {15, 15, 15, 15, 15, 15};
  static const emitted::detail::Table table{&exact,  1,       nullptr, nullptr, nullptr,
                                            nullptr, nullptr, served,  1},
      second{&other, 1, nullptr, nullptr, nullptr, nullptr, nullptr, served, 1};
  const auto choose = [&](const emitted::detail::Table& from, const emitted::Attention& a) {
    return emitted::detail::choose_or_remember(from, a, emitted::Op::forward);
  };
  emitted::Attention a, raw;
  raw.l2norm_qk = false;
  for (int round = 0; round < 2; ++round) {
    for (a.nq = 1; a.nq < 40; ++a.nq) EXPECT_EQ(choose(table, a).variant, 3);  // more than are remembered
    EXPECT_EQ(choose(second, a).variant, 5);
    EXPECT_EQ(choose(table, a).variant, 3);
    EXPECT_EQ(choose(table, raw).of, nullptr) << "of other traits, which the table hasn't";
    raw.l2norm_qk = true;
    EXPECT_EQ(choose(table, raw).of, &exact);
    raw.l2norm_qk = false;
  }
}

// Without tuned shapes.
emitted::detail::Table table_of(const emitted::detail::Class& of) {
  return {&of, 1, nullptr, nullptr, nullptr, nullptr, nullptr, kServeAll, 1};
}

TEST(EmittedSelection, FallsBackToExactProductsWhereTf32IsAllowedAndNotTheOtherWay) {
  const emitted::detail::Class exact{{}, 0, 0, 3, 0, 0, 0};
  emitted::Attention a;
  a.allow_tf32 = true;
  EXPECT_EQ(emitted::detail::choose(table_of(exact), a, emitted::Op::forward).variant, 3);
  const emitted::detail::Class rounded{{.tf32 = true}, 0, 0, 3, 0, 0, 0};
  EXPECT_EQ(emitted::detail::choose(table_of(rounded), a, emitted::Op::forward).variant, 3);
  EXPECT_EQ(emitted::detail::choose(table_of(rounded), emitted::Attention{}, emitted::Op::forward).of,
            nullptr);
}

TEST(EmittedSelection, TakesTheGradientsThatTheTunerTook) {
  Problem p;
  p.op = kernels::Op::backward;
  p.heads = 6, p.kv_heads = 3, p.nq = 17, p.nk = 33;
  p.layout = kernels::Layout::bnhd;
  p.bias = kernels::Bias::same, p.bias_heads = 1;
  p.bias_gradient = p.scale_gradient = true;
  emitted::Attention a = attention_of(p);
  float gradient = 0;
  a.dbias = a.dscale = &gradient;
  const kernels::BackwardArgs expected = kernels::shape_args(p), args = emitted::detail::args_of(a, p.op);
  const auto numbers = [](const kernels::Strides& s) { return std::array{s.batch, s.head, s.row}; };
  EXPECT_EQ(numbers(args.dout_strides), numbers(expected.dout_strides));
  EXPECT_EQ(numbers(args.dq_strides), numbers(expected.dq_strides));
  EXPECT_EQ(numbers(args.dk_strides), numbers(expected.dk_strides));
  EXPECT_EQ(numbers(args.dv_strides), numbers(expected.dv_strides));
  EXPECT_EQ(numbers(args.dbias_strides), numbers(expected.dbias_strides));
  EXPECT_EQ(args.wants_dbias, expected.wants_dbias);
  EXPECT_EQ(args.wants_dscale, expected.wants_dscale);
}

TEST(EmittedSelection, TakesAClassThatDoesAllThatIsAskedForAndAsLittleElseAsPossible) {
  using emitted::Op;
  const kernels::Traits traits{.bias = kernels::Bias::same, .softmax = Softmax::running_maximum};
  const emitted::detail::Class classes[] = {{traits, 0, 0, 0, 0, 0, 0},
                                            {traits, 0, 0, 1, 0, 0, 0, Op::backward, {true, true, true}},
                                            {traits, 0, 0, 2, 0, 0, 0, Op::backward, {}},
                                            {traits, 0, 0, 3, 0, 0, 0, Op::backward, {false, true, false}}};
  const unsigned char served[] = {15, 15, 1, 1};
  const emitted::detail::Table table{classes, 4, nullptr, nullptr, nullptr, nullptr, nullptr, served, 1};
  float memory = 0;
  emitted::Attention a;
  a.bias = &memory;
  EXPECT_EQ(emitted::detail::choose(table, a, Op::backward).variant, 2);
  a.dscale = &memory;
  EXPECT_EQ(emitted::detail::choose(table, a, Op::backward).variant, 3);
  a.dbias = &memory;
  EXPECT_EQ(emitted::detail::choose(table, a, Op::backward).variant, 1);
  EXPECT_EQ(emitted::detail::choose(table, a, Op::forward).variant, 0);
  a.dbias = a.dscale = nullptr;
  a.deterministic = true;
  EXPECT_EQ(emitted::detail::choose(table, a, Op::backward).variant, 1);
  a.bias = nullptr;
  EXPECT_EQ(emitted::detail::choose(table, a, Op::backward).of, nullptr);
}

TEST(EmittedSelection, FallsBackToTheRunningMaximum) {
  kernels::Traits traits{.softmax = Softmax::running_maximum};
  const emitted::detail::Class of{traits, 0, 0, 3, 0, 0, 0};
  const auto choice = emitted::detail::choose(table_of(of), emitted::Attention{}, emitted::Op::forward);
  EXPECT_EQ(choice.of, &of);
  EXPECT_EQ(choice.variant, 3);
}

}  // namespace
}  // namespace fcsa::tuner
