// Which C++ compiler is run.
#pragma once

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

}  // namespace fcsa::runner::cpu
