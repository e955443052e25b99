// A set of combinations of values, counted and numbered without being listed: a decision diagram.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace fcsa::tuner {

// Of each parameter the index of its value.
using Digits = std::vector<int>;

// Reads digits one after the other and says when no member can begin with them. What it has read is a state:
// equal states go on alike, so that a set of millions may have a few hundred.
class Reader {
 public:
  using State = std::uint64_t;
  static constexpr State kStart = 0, kRefused = ~State{0};

  virtual ~Reader() = default;
  virtual const std::vector<std::size_t>& reads() const = 0;  // parameters, ascending
  // Having read the digit of reads()[place]. At the last place anything but kRefused means a member.
  virtual State next(State state, std::size_t place, std::size_t digit) = 0;
};

// Members are numbered in lexicographic order. Finding the one at a position, or the position of one, takes a
// step for each parameter.
class Diagram {
 public:
  // Of what all readers take. `counts`: of each parameter the number of its values.
  Diagram(std::vector<std::size_t> counts, const std::vector<Reader*>& readers);
  // Of these, in any order.
  Diagram(std::vector<std::size_t> counts, std::vector<Digits> members);

  std::uint64_t size() const { return layers_.empty() ? 1 : layers_.front().size_of(0); }
  std::size_t nodes() const;                // what it takes of memory: 12 bytes for each of their values
  Digits at(std::uint64_t position) const;  // precondition: below size()
  std::optional<std::uint64_t> find(const Digits& digits) const;
  // The one with most digits equal to these, of several the first. Precondition: not empty.
  std::uint64_t nearest(const Digits& digits) const;
  // Of its members; must not outlive it.
  std::unique_ptr<Reader> reader() const;

 private:
  class Members;
  class Product;
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  // Nodes of one parameter. A node and a digit lead to a node of the next layer, or to none.
  struct Layer {
    std::size_t count = 0;                // digits
    std::vector<std::uint32_t> children;  // of node * count + digit
    std::vector<std::uint64_t> until;     // members of the node with that digit or a smaller one

    std::uint64_t size_of(std::uint32_t node) const {
      return until.empty() ? 0 : until[(node + std::size_t{1}) * count - 1];
    }
  };
  std::uint64_t before(const Layer& layer, std::uint32_t node, std::size_t digit) const {
    return digit == 0 ? 0 : layer.until[node * layer.count + digit - 1];
  }
  // Leaves out nodes without a member, makes one of those that have the same children, and counts.
  void reduce();

  std::vector<Layer> layers_;
};

}  // namespace fcsa::tuner
