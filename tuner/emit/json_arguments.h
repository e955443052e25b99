// Where the members of a kernel's argument are, for programs that fill it in without its declaration.
#pragma once

#include <nlohmann/json.hpp>

#include "kernels/problem.h"

namespace fcsa::tuner {

// {"bytes": 240, "fields": [{"name": "q", "offset": 0, "type": "pointer"}, ...]}
nlohmann::ordered_json arguments_json(kernels::Op op);

}  // namespace fcsa::tuner
