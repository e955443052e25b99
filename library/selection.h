// Which configuration runs, and why.
#pragma once

#include <span>
#include <string>

#include "kernels/family.h"
#include "library/databases.h"

namespace fcsa::library {

struct Selection {
  const kernels::Family* family = nullptr;
  kernels::Configuration configuration;
  std::string reason;
};

// The first table that was tuned for problems of this kind decides, else the baseline of the first family
// that serves it. Throws Failure when none does.
Selection select(const kernels::Problem& problem, const kernels::DeviceInfo& device,
                 std::span<const TunedTable> tables);

}  // namespace fcsa::library
