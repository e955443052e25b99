// Which C++ compiler is run.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace fcsa::runner::cpu {

inline constexpr const char* kHowToGetACompiler =
    "install g++ or clang++ (apt install g++), or set FCSA_CXX to a C++20 compiler";

// The program and its arguments that a text names, the program with its whole path: "ccache g++", "/opt/my
// tools/g++ -m64", "'/opt/my tools/g++' -m64". Empty when there is no such program.
std::vector<std::string> command_from(const std::string& text);

// $FCSA_CXX, else the first of $CXX, c++, g++ and clang++ that is there. Throws std::runtime_error that says
// where it looked and what to do.
std::vector<std::string> find_compiler();

// How long a compiler may take to say its version, and to compile an empty function: 20 s, or the seconds of
// $FCSA_COMPILER_DEADLINE. Throws std::runtime_error when that isn't a number above 0.
std::chrono::milliseconds compiler_deadline();

}  // namespace fcsa::runner::cpu
