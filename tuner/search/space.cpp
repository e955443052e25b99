#include "tuner/search/space.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "tuner/search/rule_answers.h"

namespace fcsa::tuner {
namespace {

std::uint64_t checked_product(const std::string& owner, const std::vector<kernels::Parameter>& parameters) {
  std::uint64_t product = 1;
  for (const auto& parameter : parameters) {
    product *= parameter.values.size();
    if (product > Space::kLargestProduct) {
      throw std::invalid_argument(owner + " has more than " + std::to_string(Space::kLargestProduct) +
                                  " combinations of parameter values: leave out values or parameters");
    }
  }
  return product;
}

// Of each parameter in a code: a mixed-radix number, first parameter first.
std::vector<std::uint64_t> weights_of(const std::vector<kernels::Parameter>& parameters) {
  std::vector<std::uint64_t> weights(parameters.size(), 1);
  for (std::size_t i = parameters.size(); i-- > 1;) weights[i - 1] = weights[i] * parameters[i].values.size();
  return weights;
}

}  // namespace

// One configuration is reused for the whole product: a rejected combination costs no allocation. Each
// constraint is asked as soon as the parameters it reads have values, so that what fails early takes all
// combinations of the later parameters with it.
struct Space::Enumeration {
  const kernels::Problem& problem;
  const kernels::Target& target;
  kernels::Configuration configuration;
  std::vector<std::size_t> digits;
  std::vector<RuleAnswers> constraints = {};
  std::vector<std::size_t> pruned = {};
  // For each parameter, the constraints that it is the last of.
  std::vector<std::vector<std::size_t>> asked_at = {};

  // First constraint that fails with the values up to `depth`.
  std::optional<std::size_t> failing(std::size_t depth) {
    for (const auto index : asked_at[depth])
      if (!constraints[index].holds(problem, target, digits,
                                    [&]() -> const kernels::Configuration& { return configuration; }))
        return index;
    return std::nullopt;
  }
};

Space::Space(const kernels::Family& family, const kernels::Problem& problem, const kernels::Target& target)
    : family_(&family),
      kernel_(kernels::kernel_name(family, problem.op)),
      parameters_(family.parameters(problem.op)),
      weights_(weights_of(parameters_)),
      total_(checked_product("family " + family.name(), parameters_)) {
  if (total_ == 0) return;
  if (parameters_.empty()) {
    codes_.push_back(0);
    return;
  }
  Enumeration state{problem, target, decode(0), std::vector<std::size_t>(parameters_.size())};
  state.asked_at.resize(parameters_.size());
  for (auto& constraint : family.constraints(problem.op)) {
    if (constraint.kind == kernels::RuleKind::worth_here) continue;
    state.constraints.emplace_back(std::move(constraint), parameters_);
    state.asked_at[state.constraints.back().read().back()].push_back(state.constraints.size() - 1);
  }
  state.pruned.resize(state.constraints.size());
  enumerate(state, 0, 0);
  for (std::size_t i = 0; i < state.constraints.size(); ++i)
    if (state.pruned[i] > 0) pruned_by_[state.constraints[i].reason()] += state.pruned[i];
}

Space::Space(std::string kernel, std::vector<kernels::Parameter> parameters,
             const std::vector<kernels::Configuration>& valid)
    : kernel_(std::move(kernel)),
      parameters_(std::move(parameters)),
      weights_(weights_of(parameters_)),
      total_(checked_product(kernel_, parameters_)) {
  codes_.reserve(valid.size());
  for (const auto& configuration : valid) {
    const auto code = encode(configuration);
    if (!code)
      throw std::invalid_argument(kernel_ + ": a configuration has a parameter or a value that isn't listed");
    codes_.push_back(*code);
  }
  std::sort(codes_.begin(), codes_.end());
  codes_.erase(std::unique(codes_.begin(), codes_.end()), codes_.end());
}

void Space::enumerate(Enumeration& state, std::size_t depth, std::uint64_t code) {
  const auto& values = parameters_[depth].values;
  for (std::size_t digit = 0; digit < values.size(); ++digit) {
    state.configuration.values[depth].second = values[digit];
    state.digits[depth] = digit;
    if (const auto failed = state.failing(depth)) {
      state.pruned[*failed] += weights_[depth];
    } else if (depth + 1 < parameters_.size()) {
      enumerate(state, depth + 1, code);
    } else {
      codes_.push_back(code);
    }
    code += weights_[depth];
  }
}

Space Space::worth_trying(const kernels::Problem& problem, const kernels::Target& target) const {
  std::vector<RuleAnswers> rules;
  std::vector<bool> read(parameters_.size());
  for (auto& rule : family_->constraints(problem.op)) {
    if (rule.kind != kernels::RuleKind::worth_here) continue;
    rules.emplace_back(std::move(rule), parameters_);
    for (const auto parameter : rules.back().read()) read[parameter] = true;
  }
  Space space = *this;
  if (rules.empty()) return space;
  std::vector<std::size_t> digits(parameters_.size());
  std::erase_if(space.codes_, [&](std::uint64_t code) {
    for (std::size_t i = 0; i < digits.size(); ++i)
      if (read[i]) digits[i] = code / weights_[i] % parameters_[i].values.size();
    return std::any_of(rules.begin(), rules.end(), [&](RuleAnswers& rule) {
      return !rule.holds(problem, target, digits, [&] { return decode(code); });
    });
  });
  return space;
}

kernels::Configuration Space::at(std::size_t position) const {
  return decode(codes_.at(position));
}

std::optional<std::size_t> Space::find(const kernels::Configuration& configuration) const {
  const auto code = encode(configuration);
  return code ? position_of(*code) : std::nullopt;
}

std::size_t Space::simplest() const {
  std::vector<int> defaults;
  for (const auto& parameter : parameters_) {
    const auto at = std::find(parameter.values.begin(), parameter.values.end(), parameter.default_value);
    defaults.push_back(static_cast<int>(at - parameter.values.begin()));
  }
  std::size_t simplest = 0, fewest = parameters_.size() + 1;
  for (std::size_t position = 0; position < size() && fewest > 0; ++position) {
    const auto digits = this->digits(position);
    std::size_t changed = 0;
    for (std::size_t i = 0; i < digits.size(); ++i) changed += digits[i] == defaults[i] ? 0U : 1U;
    if (changed >= fewest) continue;
    fewest = changed;
    simplest = position;
  }
  return simplest;
}

std::vector<kernels::Configuration> Space::valid() const {
  std::vector<kernels::Configuration> all;
  all.reserve(codes_.size());
  for (const auto code : codes_) all.push_back(decode(code));
  return all;
}

std::vector<int> Space::digits(std::size_t position) const {
  const std::uint64_t code = codes_.at(position);
  std::vector<int> digits;
  digits.reserve(parameters_.size());
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    digits.push_back(static_cast<int>(code / weights_[i] % parameters_[i].values.size()));
  }
  return digits;
}

std::optional<std::size_t> Space::find_digits(const std::vector<int>& digits) const {
  std::uint64_t code = 0;
  for (std::size_t i = 0; i < digits.size(); ++i) code += weights_[i] * static_cast<std::uint64_t>(digits[i]);
  return position_of(code);
}

std::vector<kernels::Configuration> Space::neighbours(const kernels::Configuration& configuration,
                                                      bool any_step) const {
  std::vector<kernels::Configuration> found;
  const auto code = encode(configuration);
  if (!code) return found;
  for (const auto position : neighbours_of_code(*code, any_step)) found.push_back(at(position));
  return found;
}

std::vector<std::size_t> Space::neighbours(std::size_t position, bool any_step) const {
  return neighbours_of_code(codes_.at(position), any_step);
}

std::vector<std::size_t> Space::neighbours_of_code(std::uint64_t code, bool any_step) const {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto count = static_cast<std::int64_t>(parameters_[i].values.size());
    const auto digit = static_cast<std::int64_t>(code / weights_[i]) % count;
    const std::int64_t first = any_step ? 0 : std::max<std::int64_t>(digit - 1, 0);
    const std::int64_t last = any_step ? count - 1 : std::min(digit + 1, count - 1);
    for (std::int64_t other = first; other <= last; ++other) {
      if (other == digit) continue;
      const std::int64_t shift = (other - digit) * static_cast<std::int64_t>(weights_[i]);
      if (const auto position = position_of(code + static_cast<std::uint64_t>(shift)))
        found.push_back(*position);
    }
  }
  return found;
}

std::optional<std::uint64_t> Space::encode(const kernels::Configuration& configuration) const {
  if (configuration.kernel != kernel_ || configuration.values.size() != parameters_.size())
    return std::nullopt;
  std::uint64_t code = 0;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, value] = configuration.values[i];
    const auto& values = parameters_[i].values;
    const auto at = std::find(values.begin(), values.end(), value);
    if (name != parameters_[i].name || at == values.end()) return std::nullopt;
    code += weights_[i] * static_cast<std::uint64_t>(at - values.begin());
  }
  return code;
}

kernels::Configuration Space::decode(std::uint64_t code) const {
  kernels::Configuration configuration{kernel_, {}};
  configuration.values.reserve(parameters_.size());
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto& values = parameters_[i].values;
    configuration.values.emplace_back(parameters_[i].name, values[code / weights_[i] % values.size()]);
  }
  return configuration;
}

std::optional<std::size_t> Space::position_of(std::uint64_t code) const {
  const auto at = std::lower_bound(codes_.begin(), codes_.end(), code);
  if (at == codes_.end() || *at != code) return std::nullopt;
  return static_cast<std::size_t>(at - codes_.begin());
}

}  // namespace fcsa::tuner
