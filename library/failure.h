// A call of the library that can't be served.
#pragma once

#include <stdexcept>
#include <string>

#include "library/fcsa.h"

namespace fcsa::library {

// What a function of fcsa.h returns, and what fcsa_last_error() says then.
class Failure : public std::runtime_error {
 public:
  Failure(fcsa_status status, const std::string& text) : std::runtime_error(text), status_(status) {}
  fcsa_status status() const { return status_; }

 private:
  fcsa_status status_;
};

// Of what the caller has stated.
[[noreturn]] inline void refuse(const std::string& text) {
  throw Failure(FCSA_INVALID_ARGUMENT, text);
}

}  // namespace fcsa::library
