// The arguments and the environment of a program, as execve() takes them.
#pragma once

#include <string>
#include <vector>

namespace fcsa::runner {

// Pointers to the texts, which stay where they are, and a null pointer behind the last.
std::vector<char*> pointers_to(std::vector<std::string>& texts);

// "NAME=value" each: the environment of this process, but for what `added` says of a name.
std::vector<std::string> environment_with(const std::vector<std::string>& added);

}  // namespace fcsa::runner
