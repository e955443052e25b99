#include "tests/cli/program.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace fcsa::cli {

namespace {

struct Output {
  std::filesystem::path out, err;
};

pid_t start(const std::filesystem::path& program, const std::vector<std::string>& arguments,
            const std::vector<std::string>& environment, const Output& output) {
  const pid_t process = fork();
  if (process < 0) throw std::runtime_error("fork failed");
  if (process > 0) return process;
  dup2(open(output.out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDOUT_FILENO);
  dup2(open(output.err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDERR_FILENO);
  for (const auto& entry : environment) putenv(const_cast<char*>(entry.c_str()));
  std::vector<char*> words{const_cast<char*>(program.c_str())};
  for (const auto& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  execv(program.c_str(), words.data());
  _exit(127);
}

}  // namespace

pid_t start_fcsa(const std::vector<std::string>& arguments, const std::vector<std::string>& environment,
                 const std::filesystem::path& out, const std::filesystem::path& err) {
  return start(FCSA_PROGRAM, arguments, environment, {out, err});
}

int wait_for(pid_t process) {
  int status = 0;
  waitpid(process, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

ProgramResult run_fcsa(const std::vector<std::string>& arguments,
                       const std::vector<std::string>& environment) {
  return run_program(FCSA_PROGRAM, arguments, environment);
}

ProgramResult run_program(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                          const std::vector<std::string>& environment) {
  const TemporaryFolder folder;
  ProgramResult result;
  result.status = wait_for(start(program, arguments, environment, {folder / "out", folder / "err"}));
  result.out = read_file(folder / "out");
  result.err = read_file(folder / "err");
  return result;
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "fcsa_test_XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string read_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace fcsa::cli
