// Wrong kernels, made by changing the text of the CPU family's: what the verifier has to refuse.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/problem.h"

namespace fcsa::runner {

// `place` is in the source once; what stands between its two @ becomes `instead`: an expression where that is
// one, else statements, which may be none.
struct Change {
  std::string place, instead;
};

// One fault. `feature` gives a problem what it is about.
struct Mutant {
  std::string what;
  std::vector<Change> changes;
  std::function<void(kernels::Problem&)> feature = [](kernels::Problem&) {};
};

std::vector<Mutant> forward_mutants();
std::vector<Mutant> backward_mutants();

// The source with all changes of all mutants in it, so that it is compiled once for all of them: changes[i]
// is what happens where the variable fcsa_mutant is i + 1. Throws std::logic_error where a place isn't there,
// or more than once: then the kernel has been rewritten, and so must the mutant.
std::string with_mutants(const std::string& source, const std::vector<Mutant>& mutants);

}  // namespace fcsa::runner
