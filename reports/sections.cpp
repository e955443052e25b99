#include "reports/sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "reports/format.h"

namespace fcsa::reports {
namespace {

using kernels::Problem;

// What the problems of one section have in common, beside their class.
using Family = std::tuple<std::string, kernels::Layout, tuner::CacheState, int, int, int>;
// Batch and key length: what may vary inside it.
using Shape = std::pair<int, int>;
using Shapes = std::set<Shape>;

// Zero for self-attention, where the query length follows the key length.
int fixed_queries(const Problem& p) {
  return p.nq == p.nk ? 0 : p.nq;
}

Family family_of(const Point& point) {
  const Problem& p = point.problem;
  return {kernels::class_text(p), p.layout, point.cache, p.heads, p.kv_heads, fixed_queries(p)};
}

long long tokens(const Shape& shape) {
  return static_cast<long long>(shape.first) * shape.second;
}

// Shapes of `batch` sequences, or of `tokens` in all where one sequence may be longer than that.
Shapes with_batch(const Shapes& shapes, int batch) {
  Shapes chosen;
  std::copy_if(shapes.begin(), shapes.end(), std::inserter(chosen, chosen.end()),
               [&](const Shape& shape) { return shape.first == batch; });
  return chosen;
}

Shapes with_tokens(const Shapes& shapes, long long total) {
  Shapes chosen;
  std::copy_if(shapes.begin(), shapes.end(), std::inserter(chosen, chosen.end()), [&](const Shape& shape) {
    return tokens(shape) == total || (shape.first == 1 && tokens(shape) > total);
  });
  return chosen;
}

// Splits shapes into sets with one shape per length: the largest set of equal batch or of equal tokens first.
std::vector<Shapes> split_into_curves(Shapes shapes) {
  std::vector<Shapes> curves;
  while (!shapes.empty()) {
    Shapes largest;
    for (const Shape& shape : shapes) {
      for (const Shapes& curve : {with_batch(shapes, shape.first), with_tokens(shapes, tokens(shape))}) {
        if (curve.size() > largest.size()) largest = curve;
      }
    }
    for (const Shape& shape : largest) shapes.erase(shape);
    curves.push_back(std::move(largest));
  }
  return curves;
}

std::string grouped_digits(long long value) {
  if (value < 1000) return fmt::format("{}", value);
  return fmt::format("{},{:03}", grouped_digits(value / 1000), value % 1000);
}

std::string title_of(const Problem& p) {
  std::string title = p.op == kernels::Op::forward ? "Forward" : "Backward";
  title += fmt::format(", {}, head dim {}", kernels::to_text(p.dtype), p.head_dim);
  title += p.causal ? ", causal" : ", full";
  if (p.key_mask) title += ", key mask";
  if (p.bias != kernels::Bias::none) title += ", bias";
  if (p.head_scale) title += ", scale per head";
  if (!p.l2norm_qk) title += ", not normalised";
  if (p.groups != 1) title += fmt::format(", {} groups", p.groups);
  if (p.bias_gradient) title += ", gradient of the bias";
  if (p.scale_gradient) title += ", gradient of the scale";
  if (fixed_queries(p) != 0) title += ", " + count_text(static_cast<std::size_t>(p.nq), "query", "queries");
  return title;
}

// What its problems have in common beside their class, in words.
std::vector<std::string> shape_words(const Point& point, const Shapes& curve) {
  const Problem& p = point.problem;
  std::string heads = count_text(static_cast<std::size_t>(p.heads), "head", "heads");
  if (p.kv_heads != p.heads) heads += fmt::format(" on {} key/value heads", p.kv_heads);
  const int batch = curve.begin()->first;
  const bool one_batch =
      std::all_of(curve.begin(), curve.end(), [&](const Shape& shape) { return shape.first == batch; });
  long long total = tokens(*curve.begin());
  for (const Shape& shape : curve) total = std::min(total, tokens(shape));
  return {std::move(heads),
          one_batch ? fmt::format("batch {}", batch)
                    : fmt::format("{} tokens (batch x N, at least one sequence)", grouped_digits(total)),
          fmt::format("layout {}", kernels::to_text(p.layout)),
          fmt::format("{} cache", tuner::to_text(point.cache))};
}

Section make_section(const std::vector<DeviceResults>& devices, const Family& family, const Shapes& curve) {
  Section section;
  for (const DeviceResults& device : devices) {
    std::vector<const Point*>& points = section.by_device.emplace_back();
    for (const Point& point : device.points) {
      if (family_of(point) != family || !curve.contains({point.problem.batch, point.problem.nk})) continue;
      points.push_back(&point);
    }
    std::stable_sort(points.begin(), points.end(),
                     [](const Point* a, const Point* b) { return a->problem.nk < b->problem.nk; });
  }
  const auto tuned_on = std::find_if(section.by_device.begin(), section.by_device.end(),
                                     [](const auto& points) { return !points.empty(); });
  const Point& example = *tuned_on->front();
  section.title = title_of(example.problem);
  section.shape = shape_words(example, curve);
  section.class_text = std::get<0>(family);
  section.op = example.problem.op;
  return section;
}

// Sections of one title are told apart by the words in which they differ.
void make_titles_unique(std::vector<Section>& sections) {
  std::map<std::string, std::vector<Section*>> by_title;
  for (Section& section : sections) by_title[section.title].push_back(&section);
  for (const auto& [title, same] : by_title) {
    for (std::size_t i = 0; i < same.front()->shape.size(); ++i) {
      const bool differ = std::any_of(same.begin(), same.end(), [&](const Section* section) {
        return section->shape[i] != same.front()->shape[i];
      });
      if (!differ) continue;
      for (Section* section : same) {
        const std::string& words = section->shape[i];
        section->title += ", " + words.substr(0, words.find(" ("));
      }
    }
  }
}

}  // namespace

std::string speedup_note(const Section& section) {
  if (section.has_yardstick()) return {};
  return "Speed-ups are over the baseline of the kernel's family: there is no unfused backward pass.";
}

std::vector<Section> make_sections(const std::vector<DeviceResults>& devices) {
  std::map<Family, Shapes> families;
  for (const DeviceResults& device : devices) {
    for (const Point& point : device.points) {
      families[family_of(point)].insert({point.problem.batch, point.problem.nk});
    }
  }
  std::vector<Section> sections;
  for (const auto& [family, shapes] : families) {
    for (const Shapes& curve : split_into_curves(shapes)) {
      sections.push_back(make_section(devices, family, curve));
    }
  }
  const auto key = [](const Section& section) {
    for (const auto& points : section.by_device) {
      if (points.empty()) continue;
      const Problem& p = points.front()->problem;
      return std::tuple(p.op, p.dtype, p.head_dim, section.class_text, p.heads);
    }
    return std::tuple(kernels::Op::forward, kernels::DType::f32, 0, section.class_text, 0);
  };
  std::stable_sort(sections.begin(), sections.end(),
                   [&](const Section& a, const Section& b) { return key(a) < key(b); });
  make_titles_unique(sections);
  for (std::size_t i = 0; i < sections.size(); ++i) sections[i].id = fmt::format("s{}", i + 1);
  return sections;
}

}  // namespace fcsa::reports
