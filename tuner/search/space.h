// The configurations of one family that problems of a class may be given on a target.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "kernels/family.h"
#include "tuner/search/diagram.h"

namespace fcsa::tuner {

// By the rules of kinds must and worth, which say the same of all problems of the class. Nothing is listed:
// the rules are put together to a diagram, of which millions of configurations take a few megabytes. A
// position counts the valid configurations in lexicographic order of the parameter values.
class Space {
 public:
  // Throws std::invalid_argument when the product of the parameters is above kLargestProduct.
  Space(const kernels::Family& family, const kernels::Problem& problem, const kernels::Target& target);
  // Of what was recorded elsewhere: these configurations are the valid ones, and there is no family. Throws
  // std::invalid_argument for one that isn't of `kernel`, or has a parameter or a value that isn't listed.
  Space(std::string kernel, std::vector<kernels::Parameter> parameters,
        const std::vector<kernels::Configuration>& valid);

  // Without what isn't worth trying for this problem of the class, by the rules of kind worth_here: the
  // others are not asked again.
  Space worth_trying(const kernels::Problem& problem, const kernels::Target& target) const;

  static constexpr std::uint64_t kLargestProduct = 1'000'000'000'000;

  const kernels::Family& family() const { return *family_; }  // precondition: made of one
  const std::vector<kernels::Parameter>& parameters() const { return parameters_; }
  std::size_t size() const { return diagram_.size(); }
  kernels::Configuration at(std::size_t position) const;  // throws std::out_of_range
  std::optional<std::size_t> find(const kernels::Configuration& configuration) const;
  bool contains(const kernels::Configuration& configuration) const { return find(configuration).has_value(); }
  // Distinct random positions, ascending; all of them where there are no more than `count`.
  std::vector<std::size_t> sample(std::size_t count, std::mt19937_64& random) const;
  // The one with most parameters at their default, of several the first. Precondition: not empty.
  std::size_t simplest() const;
  std::vector<kernels::Configuration> valid() const;      // all of them: a copy, use size() and at() in loops
  std::size_t total() const { return total_; }            // before pruning
  std::size_t nodes() const { return diagram_.nodes(); }  // of the diagram
  // For each parameter the index of its value in Parameter::values. Throws std::out_of_range.
  Digits digits(std::size_t position) const;
  // The position with these digits; nullopt when that isn't valid. Precondition: each is an index of a value.
  std::optional<std::size_t> find_digits(const Digits& digits) const { return diagram_.find(digits); }
  // Valid configurations that differ in one parameter by one step of its list, or, when `any_step`, in one
  // parameter by any amount. None for a configuration with a value outside the lists.
  std::vector<kernels::Configuration> neighbours(const kernels::Configuration& configuration,
                                                 bool any_step) const;
  std::vector<std::size_t> neighbours(std::size_t position, bool any_step) const;

 private:
  std::optional<Digits> encode(const kernels::Configuration& configuration) const;
  kernels::Configuration decode(const Digits& digits) const;
  std::vector<std::size_t> neighbours_of(Digits digits, bool any_step) const;

  const kernels::Family* family_ = nullptr;
  std::string kernel_;
  std::vector<kernels::Parameter> parameters_;
  std::size_t total_ = 0;
  Diagram diagram_;
};

}  // namespace fcsa::tuner
