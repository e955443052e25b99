#include "runner/cpu/command.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <system_error>

#include "runner/file_descriptor.h"

namespace fcsa::runner::cpu {
namespace {

[[noreturn]] void fail(int code, const std::string& what) {
  throw std::system_error(code, std::generic_category(), what);
}

// Redirections of the child, freed at the end of the scope.
class FileActions {
 public:
  FileActions() { require(posix_spawn_file_actions_init(&actions_)); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;

  void read_nothing() {
    require(posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0));
  }
  void redirect(int from, int to) { require(posix_spawn_file_actions_adddup2(&actions_, from, to)); }
  void change_directory(const std::string& directory) {
    require(posix_spawn_file_actions_addchdir_np(&actions_, directory.c_str()));
  }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  static void require(int code) {
    if (code != 0) fail(code, "posix_spawn_file_actions");
  }
  posix_spawn_file_actions_t actions_;
};

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (auto& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> merged_environment(const std::vector<std::string>& additions) {
  std::vector<std::string> merged = additions;
  const auto is_replaced = [&](std::string_view variable) {
    for (const auto& addition : additions) {
      if (variable.starts_with(addition.substr(0, addition.find('=') + 1))) return true;
    }
    return false;
  };
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!is_replaced(*variable)) merged.emplace_back(*variable);
  }
  return merged;
}

std::string read_all(int fd) {
  std::string text;
  std::array<char, 4096> chunk;
  while (true) {
    const ssize_t count = ::read(fd, chunk.data(), chunk.size());
    if (count == 0) return text;
    if (count > 0) text.append(chunk.data(), static_cast<std::size_t>(count));
    if (count < 0 && errno != EINTR) fail(errno, "read");
  }
}

int wait_for(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) fail(errno, "waitpid");
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

CommandResult run_command(const Command& command) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) fail(errno, "pipe2");
  FileDescriptor reader(ends[0]);
  FileDescriptor writer(ends[1]);
  FileActions actions;
  actions.read_nothing();
  actions.redirect(writer.get(), STDOUT_FILENO);
  actions.redirect(writer.get(), STDERR_FILENO);
  if (!command.directory.empty()) actions.change_directory(command.directory);
  std::vector<std::string> arguments = command.arguments;
  std::vector<std::string> environment = merged_environment(command.environment);
  pid_t pid = -1;
  const int code = posix_spawn(&pid, arguments.front().c_str(), actions.get(), nullptr,
                               pointers_to(arguments).data(), pointers_to(environment).data());
  if (code != 0) fail(code, "cannot start " + arguments.front());
  writer.close();
  CommandResult result;
  result.output = read_all(reader.get());
  result.status = wait_for(pid);
  return result;
}

}  // namespace fcsa::runner::cpu
