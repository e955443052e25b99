// The fields of a problem as members of a JSON object, as kernels::visit_problem() lists them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/problem.h"

namespace fcsa::tuner {

// All of them; a bound that nobody promised is null.
nlohmann::ordered_json problem_fields(const kernels::Problem& problem);

// What isn't there has its default, and there are as many key/value heads as query heads. Members that are no
// fields are not looked at. Throws std::invalid_argument that names the field, its value and what is allowed.
kernels::Problem problem_from_fields(const nlohmann::ordered_json& object);

const std::vector<std::string>& problem_field_names();

}  // namespace fcsa::tuner
