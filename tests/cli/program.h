// Runs the fcsa program as a user would.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace fcsa::cli {

struct ProgramResult {
  int status = -1;  // exit status; 128 + signal when killed
  std::string out, err;
};

// Starts the program with extra "NAME=value" environment entries; returns its process id. Its output goes to
// the files.
pid_t start_fcsa(const std::vector<std::string>& arguments, const std::vector<std::string>& environment,
                 const std::filesystem::path& out, const std::filesystem::path& err);
int wait_for(pid_t process);
ProgramResult run_fcsa(const std::vector<std::string>& arguments,
                       const std::vector<std::string>& environment = {});
// The same for a copy of the program.
ProgramResult run_program(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                          const std::vector<std::string>& environment = {});

// A fresh folder, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

std::string read_file(const std::filesystem::path& file);

}  // namespace fcsa::cli
