#include "tuner/search/space.h"

#include <algorithm>
#include <memory>
#include <set>
#include <stdexcept>
#include <utility>

#include "tuner/search/rule_reader.h"

namespace fcsa::tuner {
namespace {

using kernels::RuleKind;

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

std::vector<std::size_t> counts_of(const std::vector<kernels::Parameter>& parameters) {
  std::vector<std::size_t> counts;
  for (const auto& parameter : parameters) counts.push_back(parameter.values.size());
  return counts;
}

// The combinations that a family's rules of some kinds allow, and that are in `within` where there is one.
Diagram allowed(const kernels::Family& family, const kernels::Problem& problem,
                const RuleReader::Subject& subject, const std::vector<RuleKind>& kinds,
                const Diagram* within) {
  const auto& parameters = subject.parameters;
  const bool empty = std::any_of(parameters.begin(), parameters.end(),
                                 [](const auto& parameter) { return parameter.values.empty(); });
  std::vector<std::unique_ptr<Reader>> readers;
  if (within != nullptr) readers.push_back(within->reader());
  kernels::Configuration any{kernels::kernel_name(family, problem.op), {}};
  if (!empty)
    for (const auto& parameter : parameters)
      any.values.emplace_back(parameter.name, parameter.values.front());
  for (auto& rule : family.constraints(problem.op))
    if (!empty && std::find(kinds.begin(), kinds.end(), rule.kind) != kinds.end())
      readers.push_back(std::make_unique<RuleReader>(std::move(rule), subject, any));
  std::vector<Reader*> borrowed;
  for (const auto& reader : readers) borrowed.push_back(reader.get());
  return {counts_of(parameters), borrowed};
}

}  // namespace

Space::Space(const kernels::Family& family, const kernels::Problem& problem, const kernels::Target& target)
    : family_(&family),
      kernel_(kernels::kernel_name(family, problem.op)),
      parameters_(family.parameters(problem.op)),
      total_(checked_product("family " + family.name(), parameters_)),
      diagram_(allowed(family, problem, {problem, target, parameters_}, {RuleKind::must, RuleKind::worth},
                       nullptr)) {}

Space::Space(std::string kernel, std::vector<kernels::Parameter> parameters,
             const std::vector<kernels::Configuration>& valid)
    : kernel_(std::move(kernel)),
      parameters_(std::move(parameters)),
      total_(checked_product(kernel_, parameters_)),
      diagram_(counts_of(parameters_), [&] {
        std::vector<Digits> members;
        members.reserve(valid.size());
        for (const auto& configuration : valid) {
          auto digits = encode(configuration);
          if (!digits)
            throw std::invalid_argument(kernel_ +
                                        ": a configuration has a parameter or a value that isn't listed");
          members.push_back(std::move(*digits));
        }
        return members;
      }()) {}

Space Space::worth_trying(const kernels::Problem& problem, const kernels::Target& target) const {
  Space space = *this;
  space.diagram_ =
      allowed(*family_, problem, {problem, target, parameters_}, {RuleKind::worth_here}, &diagram_);
  return space;
}

kernels::Configuration Space::at(std::size_t position) const {
  return decode(digits(position));
}

std::optional<std::size_t> Space::find(const kernels::Configuration& configuration) const {
  const auto digits = encode(configuration);
  return digits ? find_digits(*digits) : std::nullopt;
}

std::size_t Space::simplest() const {
  Digits defaults;
  for (const auto& parameter : parameters_) {
    const auto at = std::find(parameter.values.begin(), parameter.values.end(), parameter.default_value);
    defaults.push_back(static_cast<int>(at - parameter.values.begin()));
  }
  return diagram_.nearest(defaults);
}

// Floyd's: a draw for each, also where nearly all are wanted.
std::vector<std::size_t> Space::sample(std::size_t count, std::mt19937_64& random) const {
  std::set<std::size_t> drawn;
  for (std::size_t last = size() - std::min(count, size()); last < size(); ++last)
    if (!drawn.insert(random() % (last + 1)).second) drawn.insert(last);
  return {drawn.begin(), drawn.end()};
}

std::vector<kernels::Configuration> Space::valid() const {
  std::vector<kernels::Configuration> all;
  all.reserve(size());
  for (std::size_t position = 0; position < size(); ++position) all.push_back(at(position));
  return all;
}

Digits Space::digits(std::size_t position) const {
  if (position >= size())
    throw std::out_of_range(kernel_ + ": position " + std::to_string(position) + " of a space of " +
                            std::to_string(size()));
  return diagram_.at(position);
}

std::vector<kernels::Configuration> Space::neighbours(const kernels::Configuration& configuration,
                                                      bool any_step) const {
  std::vector<kernels::Configuration> found;
  auto digits = encode(configuration);
  if (!digits) return found;
  for (const auto position : neighbours_of(std::move(*digits), any_step)) found.push_back(at(position));
  return found;
}

std::vector<std::size_t> Space::neighbours(std::size_t position, bool any_step) const {
  return neighbours_of(digits(position), any_step);
}

std::vector<std::size_t> Space::neighbours_of(Digits digits, bool any_step) const {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const int count = static_cast<int>(parameters_[i].values.size()), digit = digits[i];
    const int first = any_step ? 0 : std::max(digit - 1, 0);
    const int last = any_step ? count - 1 : std::min(digit + 1, count - 1);
    for (digits[i] = first; digits[i] <= last; ++digits[i]) {
      if (digits[i] == digit) continue;
      if (const auto position = find_digits(digits)) found.push_back(*position);
    }
    digits[i] = digit;
  }
  return found;
}

std::optional<Digits> Space::encode(const kernels::Configuration& configuration) const {
  if (configuration.kernel != kernel_ || configuration.values.size() != parameters_.size())
    return std::nullopt;
  Digits digits;
  digits.reserve(parameters_.size());
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, value] = configuration.values[i];
    const auto& values = parameters_[i].values;
    const auto at = std::find(values.begin(), values.end(), value);
    if (name != parameters_[i].name || at == values.end()) return std::nullopt;
    digits.push_back(static_cast<int>(at - values.begin()));
  }
  return digits;
}

kernels::Configuration Space::decode(const Digits& digits) const {
  kernels::Configuration configuration{kernel_, {}};
  configuration.values.reserve(parameters_.size());
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto& values = parameters_[i].values;
    configuration.values.emplace_back(parameters_[i].name, values[static_cast<std::size_t>(digits[i])]);
  }
  return configuration;
}

}  // namespace fcsa::tuner
