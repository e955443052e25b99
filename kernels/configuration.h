// A configuration: values of the tuned parameters of one family.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fcsa::kernels {

// One tuned parameter: an integer (booleans are 0 and 1, choices are numbered; `meaning` says how).
struct Parameter {
  std::string name;
  std::vector<int> values;  // ascending, all distinct: neighbours in this list are neighbours in the search
  int default_value = 0;    // left out of the text form; never change it once results are stored
  std::string meaning;
};

// "simt.forward{block_n=32,warps=8}": parameters in the family's order, those at their default left out.
// The text is the identity: it is the key in the store.
struct Configuration {
  std::string kernel;                               // "simt.forward"
  std::vector<std::pair<std::string, int>> values;  // every parameter, in the family's order

  int at(std::string_view parameter) const;  // throws std::out_of_range naming the parameter
  bool operator==(const Configuration&) const = default;
};

// Whether it has these parameters, in this order, each with one of its listed values: what a search may try.
bool listed(const Configuration& configuration, const std::vector<Parameter>& parameters);

// "simt.forward{warps=8}" -> "simt.forward"
std::string kernel_of(std::string_view configuration);

std::string to_text(const Configuration& configuration, const std::vector<Parameter>& parameters);
// Parameters left out take their default. Throws std::invalid_argument for an unknown or repeated parameter,
// or a value that is not an integer; a value outside Parameter::values is accepted, so old records stay
// readable.
Configuration configuration_from_text(std::string_view text, std::string_view kernel,
                                      const std::vector<Parameter>& parameters);

}  // namespace fcsa::kernels
