// A thread for work that may never end, in code that can't be stopped.
#pragma once

#include <chrono>
#include <functional>

namespace fcsa::runner {

// Runs `work` in a thread that no signal of the program reaches, and returns whether it has ended within the
// deadline. If not, the thread goes on for as long as it likes, and what `work` has captured lives as long:
// it must own all that it uses. Throws what `work` throws in time, std::system_error when there is no thread.
bool ends_within(std::chrono::milliseconds deadline, std::function<void()> work);

}  // namespace fcsa::runner
