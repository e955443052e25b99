// What choosing a kernel in an emitted header costs, with the tables of a database: nanoseconds of a lookup
// of problems that the thread has looked up before, and of new ones.
//   header_lookup DATABASE [rounds]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

#include "tests/tuner/emit/emitted_table.h"
#include "tuner/trials/store.h"

namespace {

using namespace fcsa;

template <typename Lookup>
double median_ns(const std::vector<emitted::Attention>& calls, int rounds, const Lookup& lookup) {
  std::vector<double> times;
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (const auto& call : calls)
      if (lookup(call).of == nullptr) std::abort();
    const std::chrono::duration<double, std::nano> elapsed = std::chrono::steady_clock::now() - start;
    times.push_back(elapsed.count() / static_cast<double>(calls.size()));
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: header_lookup DATABASE [rounds]\n");
    return 2;
  }
  try {
    const int rounds = argc > 2 ? std::max(1, std::atoi(argv[2])) : 1001;
    const auto trials = tuner::Store(argv[1], tuner::Store::Mode::read_only).trials();
    const auto table = tuner::dispatch_table_for(trials, trials.back().session.device);
    const tuner::testing::EmittedTable emitted_table(tuner::plan_emission(table));
    const auto view = emitted_table.view();
    const auto& largest =
        *std::max_element(table.classes.begin(), table.classes.end(),
                          [](const auto& a, const auto& b) { return a.entries.size() < b.entries.size(); });
    std::vector<emitted::Attention> tuned, unseen;
    for (const auto& entry : largest.entries) {
      tuned.push_back(tuner::testing::attention_of(entry.problem));
      unseen.push_back(tuned.back());
      unseen.back().nq += 7;
    }
    const std::vector<emitted::Attention> few(
        unseen.begin(), unseen.begin() + std::min<std::ptrdiff_t>(8, std::ssize(unseen)));
    const emitted::Op op = largest.entries.front().problem.op;
    const auto fresh = [&](const auto& call) { return emitted::detail::choose(view, call, op); };
    const auto again = [&](const auto& call) { return emitted::detail::choose_or_remember(view, call, op); };
    std::printf("%s: %zu shapes, %zu configurations\n", largest.class_text.c_str(), largest.entries.size(),
                largest.configurations.size());
    std::printf("known     %8.0f ns\n", median_ns(few, rounds, again));
    std::printf("new       %8.0f ns\n", median_ns(unseen, rounds, fresh));
    std::printf("tuned     %8.0f ns\n", median_ns(tuned, rounds, fresh));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "header_lookup: %s\n", error.what());
    return 1;
  }
}
