// Wrong kernels, made by changing the text of the CPU family's: what the verifier has to refuse.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/problem.h"

namespace fcsa::runner {

// One change of the source: the first `from` becomes `to`. `feature` gives a problem what the change is
// about.
struct Mutant {
  std::string what;
  std::string from, to;
  std::function<void(kernels::Problem&)> feature = [](kernels::Problem&) {};
};

std::vector<Mutant> forward_mutants();
std::vector<Mutant> backward_mutants();

}  // namespace fcsa::runner
