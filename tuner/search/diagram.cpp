#include "tuner/search/diagram.h"

#include <xxhash.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <unordered_map>
#include <utility>

namespace fcsa::tuner {
namespace {

struct HashOfNumbers {
  template <typename Number>
  std::size_t operator()(const std::vector<Number>& numbers) const {
    return XXH3_64bits(numbers.data(), numbers.size() * sizeof(Number));
  }
};

// Numbers distinct keys in the order in which they come.
template <typename Key>
class Numbering {
 public:
  std::uint32_t of(const Key& key) {
    return numbers_.try_emplace(key, static_cast<std::uint32_t>(numbers_.size())).first->second;
  }
  std::size_t size() const { return numbers_.size(); }

 private:
  std::unordered_map<Key, std::uint32_t, HashOfNumbers> numbers_;
};

}  // namespace

// Layer after layer, from what all readers know together to what they know after one more digit. A reader
// that hasn't begun, or has read all it reads, is in its first state: it doesn't keep others apart.
class Diagram::Product {
 public:
  using States = std::vector<Reader::State>;  // of each reader

  explicit Product(const std::vector<Reader*>& readers) : readers_(readers), places_(readers.size()) {}

  // Children of `nodes` and what is known at them, which become `nodes`.
  Layer layer(std::size_t parameter, std::size_t count, std::vector<States>& nodes) {
    const auto asked = asked_of(parameter);
    Layer layer{count, {}, {}};
    layer.children.reserve(nodes.size() * count);
    Numbering<States> numbers;
    std::vector<States> next_nodes;
    for (const auto& node : nodes)
      for (std::size_t digit = 0; digit < count; ++digit) {
        layer.children.push_back(kNone);
        States next = node;
        if (!read(asked, digit, next)) continue;
        layer.children.back() = numbers.of(next);
        if (numbers.size() > next_nodes.size()) next_nodes.push_back(std::move(next));
      }
    nodes = std::move(next_nodes);
    for (const auto reader : asked) ++places_[reader];
    return layer;
  }

 private:
  std::vector<std::size_t> asked_of(std::size_t parameter) const {
    std::vector<std::size_t> asked;
    for (std::size_t i = 0; i < readers_.size(); ++i)
      if (places_[i] < readers_[i]->reads().size() && readers_[i]->reads()[places_[i]] == parameter)
        asked.push_back(i);
    return asked;
  }

  // False when one refuses.
  bool read(const std::vector<std::size_t>& asked, std::size_t digit, States& states) const {
    for (const auto i : asked) {
      states[i] = readers_[i]->next(states[i], places_[i], digit);
      if (states[i] == Reader::kRefused) return false;
      if (places_[i] + 1 == readers_[i]->reads().size()) states[i] = Reader::kStart;
    }
    return true;
  }

  const std::vector<Reader*>& readers_;
  std::vector<std::size_t> places_;  // in what each reads
};

class Diagram::Members final : public Reader {
 public:
  explicit Members(const Diagram& diagram) : diagram_(diagram), reads_(diagram.layers_.size()) {
    std::iota(reads_.begin(), reads_.end(), std::size_t{0});
  }
  const std::vector<std::size_t>& reads() const override { return reads_; }
  State next(State state, std::size_t place, std::size_t digit) override {
    const Layer& layer = diagram_.layers_[place];
    const auto at = static_cast<std::size_t>(state) * layer.count + digit;
    return at >= layer.children.size() || layer.children[at] == kNone ? kRefused : layer.children[at];
  }

 private:
  const Diagram& diagram_;
  std::vector<std::size_t> reads_;
};

Diagram::Diagram(std::vector<std::size_t> counts, const std::vector<Reader*>& readers) {
  std::vector<Product::States> nodes = {Product::States(readers.size(), Reader::kStart)};
  Product product(readers);
  for (std::size_t i = 0; i < counts.size(); ++i) layers_.push_back(product.layer(i, counts[i], nodes));
  reduce();
}

// A node for each beginning that some member has.
Diagram::Diagram(std::vector<std::size_t> counts, std::vector<Digits> members) {
  std::sort(members.begin(), members.end());
  std::vector<std::uint32_t> node_of(members.size(), 0);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const std::size_t nodes = members.empty() ? 0 : node_of.back() + std::size_t{1};
    Layer layer{counts[i], std::vector<std::uint32_t>(nodes * counts[i], kNone), {}};
    std::uint32_t children = 0;
    for (std::size_t m = 0; m < members.size(); ++m) {
      auto& child = layer.children[node_of[m] * counts[i] + static_cast<std::size_t>(members[m][i])];
      if (child == kNone) child = children++;
      node_of[m] = child;
    }
    layers_.push_back(std::move(layer));
  }
  reduce();
}

void Diagram::reduce() {
  std::vector<std::uint32_t> kept = {0};  // of each node of the next layer, what it is now
  std::vector<std::uint64_t> sizes = {1};
  for (std::size_t i = layers_.size(); i-- > 0;) {
    Layer& layer = layers_[i];
    // Beyond the last parameter all that is left is a member.
    const bool last = i + 1 == layers_.size();
    Layer reduced{layer.count, {}, {}};
    Numbering<std::vector<std::uint32_t>> numbers;
    std::vector<std::uint32_t> now(layer.children.size() / std::max<std::size_t>(layer.count, 1), kNone);
    for (std::size_t node = 0; node < now.size(); ++node) {
      std::vector<std::uint32_t> children(layer.count, kNone);
      for (std::size_t digit = 0; digit < layer.count; ++digit)
        if (const auto child = layer.children[node * layer.count + digit]; child != kNone)
          children[digit] = last ? 0 : kept[child];
      if (std::all_of(children.begin(), children.end(), [](auto child) { return child == kNone; })) continue;
      now[node] = numbers.of(children);
      if (numbers.size() * layer.count == reduced.children.size()) continue;  // there was one like it
      std::uint64_t until = 0;
      for (const auto child : children) {
        until += child == kNone ? 0 : sizes[child];
        reduced.children.push_back(child);
        reduced.until.push_back(until);
      }
    }
    sizes.clear();
    for (std::uint32_t node = 0; node < numbers.size(); ++node) sizes.push_back(reduced.size_of(node));
    layer = std::move(reduced);
    kept = std::move(now);
  }
}

std::size_t Diagram::nodes() const {
  std::size_t nodes = 0;
  for (const auto& layer : layers_) nodes += layer.children.size() / std::max<std::size_t>(layer.count, 1);
  return nodes;
}

Digits Diagram::at(std::uint64_t position) const {
  Digits digits;
  digits.reserve(layers_.size());
  std::uint32_t node = 0;
  for (const auto& layer : layers_) {
    const auto first = layer.until.begin() + static_cast<std::ptrdiff_t>(node * layer.count);
    const auto digit = static_cast<std::size_t>(
        std::upper_bound(first, first + static_cast<std::ptrdiff_t>(layer.count), position) - first);
    position -= before(layer, node, digit);
    node = layer.children[node * layer.count + digit];
    digits.push_back(static_cast<int>(digit));
  }
  return digits;
}

std::optional<std::uint64_t> Diagram::find(const Digits& digits) const {
  if (size() == 0) return std::nullopt;
  std::uint64_t position = 0;
  std::uint32_t node = 0;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    const auto digit = static_cast<std::size_t>(digits[i]);
    position += before(layer, node, digit);
    node = layer.children[node * layer.count + digit];
    if (node == kNone) return std::nullopt;
  }
  return position;
}

std::uint64_t Diagram::nearest(const Digits& digits) const {
  constexpr auto kUnreachable = std::numeric_limits<std::size_t>::max();
  // Of each layer's nodes, how many digits differ at least from there on.
  std::vector<std::vector<std::size_t>> fewest(layers_.size() + 1, {0});
  const auto differing = [&](std::size_t i, std::size_t node, std::size_t digit) {
    const auto child = layers_[i].children[node * layers_[i].count + digit];
    if (child == kNone) return kUnreachable;
    return fewest[i + 1][child] + (static_cast<int>(digit) == digits[i] ? 0U : 1U);
  };
  const auto best_digit = [&](std::size_t i, std::size_t node) {
    std::size_t best = 0;
    for (std::size_t digit = 1; digit < layers_[i].count; ++digit)
      if (differing(i, node, digit) < differing(i, node, best)) best = digit;
    return best;
  };
  for (std::size_t i = layers_.size(); i-- > 0;) {
    fewest[i].clear();
    for (std::size_t node = 0; node < layers_[i].children.size() / layers_[i].count; ++node)
      fewest[i].push_back(differing(i, node, best_digit(i, node)));
  }
  std::uint64_t position = 0;
  std::uint32_t node = 0;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const auto digit = best_digit(i, node);
    position += before(layers_[i], node, digit);
    node = layers_[i].children[node * layers_[i].count + digit];
  }
  return position;
}

std::unique_ptr<Reader> Diagram::reader() const {
  return std::make_unique<Members>(*this);
}

}  // namespace fcsa::tuner
