// FCSA_RECORD=FILE: which problems this process runs and how often, in a file that `fcsa tune --problems`
// reads. The libraries of a process share it. docs/workloads.md has the format.
#pragma once

#include <memory>
#include <string>

#include "kernels/problem.h"
#include "kernels/target.h"
#include "library/notes.h"

namespace fcsa::library {

// Of this process, over all files; further ones are not counted.
inline constexpr int kMostRecordedProblems = 65536;

// A place to count a problem at; -1 where FCSA_RECORD isn't set, or there are too many, which is said once.
// `notes` is told, while it lives, what can't be written.
int record_slot(const kernels::Problem& problem, kernels::DeviceKind device,
                const std::shared_ptr<Notes>& notes);

// Thread-safe; some nanoseconds, but where the calls of a thread reach a power of two: then a line may be
// appended, by one write(). A child process made by fork() counts for itself.
void count_call(int slot);

}  // namespace fcsa::library
