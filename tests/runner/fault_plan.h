// What each configuration of the fault run does: decided by its number alone, so that the tuner, the stand-in
// for a compiler and the test agree without a word.
#pragma once

namespace fcsa::runner {

enum class Fault {
  none,
  // Of the kernel; their numbers are in the binary.
  hangs,
  illegal_access,
  aborts,
  exits,
  killed,              // its worker, by SIGKILL, as if the machine ran out of memory
  dies_when_measured,  // right as long as it is verified
  writes_nan,
  off_by_one_key,
  stale_row,  // of the tuned shape only
  writes_behind,
  // Of the compiler.
  source_error,
  compiler_crashes,
  compiler_hangs,
  compile_process_killed,
};

inline constexpr int kFaultConfigurations = 512;
inline constexpr int kFaultBaseline = 0;
inline constexpr int kFaultWinner = 271;

struct FaultShare {
  Fault fault;
  int configurations;
};
inline constexpr FaultShare kFaultShares[] = {
    {Fault::hangs, 1},          {Fault::illegal_access, 4},
    {Fault::aborts, 1},         {Fault::exits, 1},
    {Fault::killed, 1},         {Fault::dies_when_measured, 1},
    {Fault::writes_nan, 24},    {Fault::off_by_one_key, 24},
    {Fault::stale_row, 16},     {Fault::writes_behind, 8},
    {Fault::source_error, 12},  {Fault::compiler_crashes, 4},
    {Fault::compiler_hangs, 1}, {Fault::compile_process_killed, 2},
};

inline Fault fault_of(int number) {
  // An odd factor visits every place once: faults are spread, neither baseline nor winner has one.
  int place = (number * 157 + 300) % kFaultConfigurations;
  for (const auto& share : kFaultShares) {
    if (place < share.configurations) return share.fault;
    place -= share.configurations;
  }
  return Fault::none;
}

// How long a right kernel takes at the tuned shape. Faulty ones are faster than all of these.
inline int spin_us(int number) {
  if (number == kFaultWinner) return 10;
  if (number == kFaultBaseline) return 120;
  return 60 + number % 32;
}

}  // namespace fcsa::runner
