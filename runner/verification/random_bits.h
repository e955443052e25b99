// Random numbers by position, equal on every machine.
#pragma once

#include <cstdint>

namespace fcsa::runner {

// The finaliser of splitmix64: a counter in, 64 independent bits out.
inline std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// Bits by position, so that blocks of a tensor can be drawn in any order and on any number of threads.
class Bits {
 public:
  Bits(std::uint64_t seed, std::uint64_t stream) : key_(mix(mix(seed + 0x632be59bd9b4e019u) ^ stream)) {}
  std::uint64_t at(std::uint64_t position) const { return mix(key_ + position * 0x9e3779b97f4a7c15u); }
  // A sum of four uniform numbers: normal to 3.4 sigma, exact integers and one product, so equal on every
  // machine.
  float normal(std::uint64_t position) const {
    const std::uint64_t bits = at(position);
    const auto sum =
        static_cast<int>((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
    return static_cast<float>(sum - 131070) * 2.6429e-5f;
  }

 private:
  std::uint64_t key_;
};

}  // namespace fcsa::runner
