// What a fork() of the program leaves of this library in the child.
#pragma once

namespace fcsa::library {

// Around everything that takes a lock, or lets the C++ library or SQLite take one, for longer than a look
// into a table. A child process that was made while another thread was inside one doesn't have that thread,
// so that nobody would ever leave it: there the constructor throws Failure, instead of waiting for ever.
class LockedSection {
 public:
  LockedSection();
  ~LockedSection();
  LockedSection(const LockedSection&) = delete;
  LockedSection& operator=(const LockedSection&) = delete;
};

// Locks that are held for a moment, by many threads: fork() waits for them, so that nobody is inside when the
// child is made. Lives as long as they do.
class HeldDuringFork {
 public:
  virtual ~HeldDuringFork() = default;
  virtual void lock_all() = 0;
  virtual void unlock_all() = 0;
  // In the child, instead of unlock_all(): a lock counts those that wait for it, and they aren't there.
  virtual void renew_all() = 0;
};
void hold_during_fork(HeldDuringFork& locks);
void forget(HeldDuringFork& locks);

}  // namespace fcsa::library
