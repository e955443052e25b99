// Takes the place of the C++ compiler in the fault run: a thousand real compilations would take minutes.
// Copies a kernel that was compiled once and writes into it what the configuration does; or fails as it is
// told.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include <unistd.h>

#include "tests/runner/fault_plan.h"

namespace {

using fcsa::runner::Fault;

std::string read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

int fail(const char* message) {
  std::fputs(message, stderr);
  return 1;
}

pid_t parent_of(pid_t process) {
  std::ifstream stat("/proc/" + std::to_string(process) + "/stat");
  std::string number, name, state;
  pid_t parent = 0;
  stat >> number >> name >> state >> parent;
  return parent;
}

int compile(int number) {
  const Fault fault = fcsa::runner::fault_of(number);
  switch (fault) {
    case Fault::source_error:
      return fail("kernel.cpp:1:1: error: as the plan wants\n");
    case Fault::compiler_crashes:
      std::raise(SIGSEGV);
      return 1;
    case Fault::compiler_hangs:
      for (;;) ::pause();
    case Fault::compile_process_killed:
      ::kill(parent_of(::getppid()), SIGKILL);
      return 1;
    default:
      break;
  }
  char behaviour[9];
  std::snprintf(behaviour, sizeof behaviour, "%02d%06d", static_cast<int>(fault),
                fcsa::runner::spin_us(number));
  std::string binary = read_file(std::getenv("FCSA_FAULT_KERNEL"));
  const std::string marker = "FCSA_BEHAVIOUR:";
  const auto place = binary.find(marker);
  if (place == std::string::npos) return fail("error: FCSA_FAULT_KERNEL has no marker\n");
  binary.replace(place + marker.size(), 8, behaviour);
  std::ofstream("kernel.so", std::ios::binary) << binary;
  return 0;
}

}  // namespace

int main(int argc, char**) {
  if (argc == 2) return std::puts("stand-in 1.0") < 0;
  if (::access(std::getenv("FCSA_FAULT_NO_ROOM"), F_OK) == 0)
    return fail("fatal error: error writing to kernel.so: No space left on device\n");
  const std::string source = read_file("kernel.cpp"), number = "static const int number = ";
  const auto place = source.find(number);
  // Asked whether it works at all, with a source that has no configuration.
  if (source.find("void nothing()") != std::string::npos) {
    std::ofstream("kernel.so") << "";
    return 0;
  }
  if (place == std::string::npos) return fail("error: the source has no number\n");
  return compile(std::atoi(source.c_str() + place + number.size()));
}
