// What this process inherits from whatever started it, put in order; and what it prints, looked after.
#pragma once

#include <atomic>

namespace fcsa::cli {

// Before anything is opened: standard streams that are closed get files that can't be used in their place,
// children are waited for whatever the parent did with SIGCHLD, signals aren't blocked, and writing to a pipe
// that nobody reads is an error instead of a silent end.
void set_up_process();

// The first Ctrl-C (or SIGTERM) says so, and sets `stop`; the second ends the program at once. What is
// recorded is safe either way.
void stop_on_signals(std::atomic<bool>& stop);
bool stop_requested();

// Whether all that was printed to standard output got there. Says on stderr why it didn't.
bool finish_standard_output();

}  // namespace fcsa::cli
