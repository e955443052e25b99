#include "tests/runner/verification/mutants.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <stdexcept>

namespace fcsa::runner {
namespace {

constexpr char kMark = '@';

// What a change is about in the source: from `begin` to before `end`, nothing where they are equal.
struct Region {
  std::size_t begin, end;
  std::string before, after;  // what makes a choice of it
};

Region region_of(const std::string& source, const Change& change, int number) {
  std::string place = change.place;
  const std::size_t first = place.find(kMark), last = place.rfind(kMark) - 1;
  std::erase(place, kMark);
  const std::size_t found = source.find(place);
  if (found == std::string::npos || source.find(place, found + 1) != std::string::npos)
    throw std::logic_error(fmt::format("{} in the source: {}",
                                       found == std::string::npos ? "no longer" : "more than once", place));
  Region region{found + first, found + last, {}, {}};
  const bool statements = region.begin == region.end || source[region.end - 1] == ';';
  const std::string right = fmt::format("fcsa_mutant != {}", number);
  region.before = statements ? "if (" + right + ") { " : "(" + right + " ? (";
  region.after = statements ? " } else { " + change.instead + " }" : ") : (" + change.instead + "))";
  return region;
}

}  // namespace

std::string with_mutants(const std::string& source, const std::vector<Mutant>& mutants) {
  std::vector<Region> regions;
  for (std::size_t i = 0; i < mutants.size(); ++i)
    for (const Change& change : mutants[i].changes)
      regions.push_back(region_of(source, change, static_cast<int>(i) + 1));
  // Those of several mutants may be the same or one inside of the other: the widest is the outermost choice.
  std::stable_sort(regions.begin(), regions.end(),
                   [](const Region& a, const Region& b) { return a.end - a.begin > b.end - b.begin; });
  struct Texts {
    std::string closing, opening;
  };
  std::map<std::size_t, Texts> insertions;
  for (const Region& region : regions) {
    insertions[region.begin].opening += region.before;
    if (region.begin == region.end) {
      insertions[region.begin].opening += region.after;
    } else {
      insertions[region.end].closing.insert(0, region.after);
    }
  }
  std::string text = "static int fcsa_mutant = 0;\n";
  std::size_t copied = 0;
  for (const auto& [position, texts] : insertions) {
    text += source.substr(copied, position - copied) + texts.closing + texts.opening;
    copied = position;
  }
  return text + source.substr(copied);
}

}  // namespace fcsa::runner
