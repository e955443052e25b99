// Recorded spaces in the T4 format.
#pragma once

#include <string>
#include <string_view>

#include "tuner/search/recorded_space.h"

namespace fcsa::tuner {

// `name`: of the space, and of the file in messages. Errors as of read_recorded_spaces().
RecordedSpace space_from_t4(const std::string& name, std::string_view text);

}  // namespace fcsa::tuner
