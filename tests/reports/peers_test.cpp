#include "reports/peers.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "kernels/problem.h"
#include "reports/figures.h"
#include "reports/sections.h"
#include "tests/reports/fabricated.h"

namespace fcsa::reports {
namespace {

using fabricated::Database;
using fabricated::gpu;
using fabricated::problem;

constexpr const char* kHeader =
    "peer,normalisation,direction,device,device_name,torch,cache,dtype,batch,heads,kv_heads,nq,nk,head_dim,"
    "causal,scale,median_ms,low_ms,high_ms,samples,tflops,peak_bytes,reason\n";

// A line about fabricated::problem(length).
struct Line {
  std::string peer = "fa3", direction = "forward", device = gpu().name, cache = "warm", ms = "3",
              peak = "1048576", reason = "", causal = "false", normalisation = "included", scale = "8";
};

std::string text_of(const Line& line, int length = 1024) {
  const kernels::Problem p = problem(length);
  return fmt::format("{},{},{},cuda,{},2.15.0,{},f32,{},{},{},{},{},64,{},{},{},,,7,,{},{}\n", line.peer,
                     line.normalisation, line.direction, line.device, line.cache, p.batch, p.heads,
                     p.kv_heads, p.nq, p.nk, line.causal, line.scale, line.ms, line.peak, line.reason);
}

Peers peers_of(const std::string& lines) {
  return peers_from_csv(kHeader + lines, "compare.csv");
}

std::string mistake(const std::string& text) {
  try {
    peers_from_csv(text, "compare.csv");
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "none";
}

// Figures of the one section, by title.
class Figures {
 public:
  Figures(const Database& database, const Peers& peers)
      : peers_(peers), devices_(collect(database.trials())), sections_(make_sections(devices_)) {
    for (auto& row : make_figures(sections_.at(0), devices_, {}, &peers_))
      figures_.push_back(std::move(row.at(0)));
  }

  const Figure& titled(const std::string& title) const {
    for (const Figure& figure : figures_)
      if (figure.title == title) return figure;
    throw std::logic_error("no figure " + title);
  }
  std::vector<double> line(const std::string& title, const std::string& peer) const {
    std::vector<double> values;
    for (const Curve& curve : titled(title).plot.curves)
      if (curve.label == peer)
        for (const Sample& sample : curve.samples) values.push_back(sample.y);
    return values;
  }
  std::string note() const { return left_out_note(peers_, devices_); }

 private:
  Peers peers_;
  std::vector<DeviceResults> devices_;
  std::vector<Section> sections_;
  std::vector<Figure> figures_;
};

TEST(Peers, AreLinesOfTimeSpeedAndMemoryBesideOurs) {
  const Database database = Database(gpu()).tuned(problem(1024)).tuned(problem(2048));
  const Figures figures(database,
                        peers_of(text_of({}) + text_of({.ms = "6"}, 2048) + text_of({.peer = "plain"})));
  EXPECT_EQ(figures.line("Time per call", "fa3"), (std::vector<double>{3, 6}));
  EXPECT_EQ(figures.line("Time per call", "plain"), std::vector<double>{3});
  ASSERT_EQ(figures.line("Speed", "fa3").size(), 2U);
  EXPECT_DOUBLE_EQ(figures.line("Speed", "fa3")[1], kernels::flops(problem(2048)) / 6e9);
  EXPECT_TRUE(figures.line("Extra memory", "fa3").empty());
  EXPECT_EQ(figures.note(), "");
  const Figure& time = figures.titled("Time per call");
  EXPECT_EQ(time.numbers.header,
            (std::vector<std::string>{"N", "tuned", "baseline", "unfused", "fa3", "plain"}));
  EXPECT_EQ(time.numbers.rows.at(1).at(4), "6.000");
  EXPECT_EQ(time.numbers.rows.at(1).at(5), "");
  EXPECT_NE(time.note.find("fa3, plain: from compare.csv (torch 2.15.0)"), std::string::npos) << time.note;
  EXPECT_NE(time.text.description.find("fa3 3.000 at 1k to 6.000 at 2k"), std::string::npos)
      << time.text.description;
  EXPECT_GE(time.plot.y.high, 6);
}

TEST(Peers, NeedTheMemoryOfInputsToo) {
  const double rows = 4.0 * 64 * 16 * 32 * 1024;  // bytes of one tensor
  const Database forward = Database(gpu()).tuned(problem(1024));
  EXPECT_EQ(Figures(forward, peers_of(text_of({}))).line("Peak memory", "fa3"),
            std::vector<double>{1048576 + 3 * rows});
  kernels::Problem p = problem(1024);
  p.op = kernels::Op::backward;
  const Database backward = Database(gpu()).search(p, "simt.backward{warps=8}", fabricated::took(2));
  const Figures figures(backward, peers_of(text_of({.direction = "both"}) +
                                           text_of({.direction = "backward", .ms = "4", .peak = "7"})));
  EXPECT_EQ(figures.line("Peak memory", "fa3"), std::vector<double>{1048576 + 4 * rows})
      << "of both passes: what the forward pass keeps is there during the backward pass";
  EXPECT_EQ(figures.line("Time per call", "fa3"), std::vector<double>{4});
}

TEST(Peers, ThatRanOutOfMemoryAreInTheTable) {
  const Database database = Database(gpu()).tuned(problem(1024));
  const Figures figures(
      database,
      peers_of(text_of({.ms = "", .peak = "", .reason = "\"CUDA out of memory. Tried, and failed\""}) +
               text_of({.peer = "fa2", .ms = "", .peak = "", .reason = "no f32"})));
  EXPECT_EQ(figures.titled("Speed").numbers.header.back(), "fa3");
  EXPECT_EQ(figures.titled("Speed").numbers.rows.at(0).back(), "out of memory");
  EXPECT_TRUE(figures.line("Speed", "fa3").empty());
}

TEST(Peers, OfOtherProblemsDevicesAndCacheStatesAreLeftOutAndNamed) {
  const Database database = Database(gpu()).tuned(problem(1024));
  const std::string lines = text_of({.causal = "true"}) + text_of({.normalisation = "excluded"}) +
                            text_of({.direction = "backward"}) + text_of({.scale = "9"}) + text_of({}, 2048) +
                            text_of({.device = "NVIDIA H200"}) + text_of({.cache = "cold"});
  const Figures figures(database, peers_of(lines));
  EXPECT_TRUE(figures.line("Time per call", "fa3").empty());
  EXPECT_EQ(figures.titled("Time per call").numbers.header.size(), 4U);
  EXPECT_NE(figures.note().find("compare.csv: 7 of 7 measurements are not drawn"), std::string::npos)
      << figures.note();
  EXPECT_NE(figures.note().find("NVIDIA H200, warm cache, normalisation included"), std::string::npos)
      << figures.note();
}

TEST(Peers, OfAProblemWhoseCallerPromisesABoundAreOfThatProblem) {
  kernels::Problem p = problem(1024);
  p.l2norm_qk = false;
  p.logit_bound = 8.16F;
  Database database(gpu());
  database.search(p, fabricated::baseline(gpu(), p), fabricated::took(2));
  const Figures figures(database, peers_of(text_of({.normalisation = "excluded"})));
  EXPECT_EQ(figures.line("Time per call", "fa3"), std::vector<double>{3});
}

TEST(Peers, AreWithoutThisPackageItself) {
  EXPECT_EQ(peers_of(text_of({.peer = "fcsa"}) + text_of({})).names, std::vector<std::string>{"fa3"});
}

TEST(Peers, MistakesAreNamedByFileAndLine) {
  const std::string good = text_of({});
  EXPECT_EQ(mistake(kHeader + good + text_of({.ms = "abc"})),
            "compare.csv:3: median_ms is 'abc': it must be a number above 0");
  EXPECT_EQ(mistake(kHeader + text_of({.ms = "-1"})),
            "compare.csv:2: median_ms is '-1': it must be a number above 0");
  EXPECT_EQ(mistake(kHeader + text_of({.direction = "up"})),
            "compare.csv:2: direction is 'up': it must be forward, backward or both");
  EXPECT_EQ(mistake(kHeader + text_of({.causal = "no"})),
            "compare.csv:2: causal is 'no': it must be true or false");
  EXPECT_EQ(mistake(kHeader + good + "a,b\n"), "compare.csv:3: 2 cells, and 23 columns");
  EXPECT_EQ(mistake(kHeader + text_of({.reason = "\"half"})), "compare.csv:2: a quote has no end");
  EXPECT_EQ(mistake("peer,ms\n")
                .find("compare.csv:1: there must be one column 'normalisation', and there are peer,ms: "),
            0U);
  EXPECT_EQ(mistake(kHeader), "compare.csv: there is no measurement of a peer in it");
  EXPECT_EQ(mistake(""), "compare.csv: there is no measurement of a peer in it");
}

}  // namespace
}  // namespace fcsa::reports
