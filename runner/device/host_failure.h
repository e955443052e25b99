// What this machine can't give right now.
#pragma once

#include <stdexcept>

namespace fcsa::runner {

// No place to write, no process or memory to be had, a program that the compiler needs is missing: no fault
// of what was being done, and gone when somebody has mended it. The text says what to do.
class HostFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace fcsa::runner
