// The opening comment of a tuned header: how to use it, what was tuned and how well, and on what.
#pragma once

#include <string>

#include "tuner/emit/emit.h"

namespace fcsa::tuner {

// What differs from one kind of header to another.
struct HeaderUse {
  std::string space;      // "fcsa_tuned::sm_90"
  std::string compile;    // command
  std::string pointers;   // what kind q, k, v and o are
  std::string allocate;   // statement that allocates `bytes` bytes at `workspace`
  std::string arguments;  // of forward and backward
  std::string remarks;    // paragraphs, or empty
};

std::string opening_comment(const Emission& emission, const HeaderUse& use);

}  // namespace fcsa::tuner
