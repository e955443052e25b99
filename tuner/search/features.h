// What a model of the times sees of a configuration: along a few axes, how far apart two of them are.
#pragma once

#include <Eigen/Dense>
#include <cstdint>
#include <vector>

#include "tuner/search/space.h"

namespace fcsa::tuner {

// Of each parameter that has a choice, an axis of its values: of what distance there is, a tenth is for
// being different at all, the rest for how far apart they are (log2 where all are positive, and their places
// in the list). Where values differ in how often they can be halved, up to the 32 lanes of a warp, another
// axis for that: tiles and blocks that are no multiple of what the hardware has are slower in a way of their
// own.
class Features {
 public:
  explicit Features(const Space& space);

  using Digits = std::vector<std::uint16_t>;  // for each axis a place on it
  Digits of(std::size_t position) const;

  struct Axis {
    Eigen::MatrixXd squared_distances;  // between its places, at most 1
    bool derived = false;               // says again, in another way, what parameters say
  };
  const std::vector<Axis>& axes() const { return axes_; }

 private:
  void add_axis(std::size_t parameter, Axis axis);

  const Space* space_;
  std::vector<std::size_t> parameters_;  // of each axis
  std::vector<Axis> axes_;
};

}  // namespace fcsa::tuner
