#include "reports/gnuplot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>
#include <utility>

namespace fcsa::reports {
namespace {

namespace fs = std::filesystem;

// Plots per process below which starting another one doesn't pay.
constexpr std::size_t kPlotsPerProcess = 24;

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string path = (fs::temp_directory_path() / "fcsa-report-XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) {
      throw std::runtime_error(fmt::format("cannot make a folder in {}: {}",
                                           fs::temp_directory_path().string(), std::strerror(errno)));
    }
    path_ = path;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

class SpawnFiles {
 public:
  SpawnFiles() { posix_spawn_file_actions_init(&actions_); }
  ~SpawnFiles() { posix_spawn_file_actions_destroy(&actions_); }
  SpawnFiles(const SpawnFiles&) = delete;
  SpawnFiles& operator=(const SpawnFiles&) = delete;

  void redirect_output(const fs::path& file) {
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, file.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
    posix_spawn_file_actions_adddup2(&actions_, STDOUT_FILENO, STDERR_FILENO);
  }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

std::string read_file(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

std::string first_line(const std::string& text) {
  const std::size_t begin = std::min(text.find_first_not_of(" \n"), text.size());
  return text.substr(begin, text.find('\n', begin) - begin);
}

std::string program_name() {
  const char* chosen = std::getenv("FCSA_GNUPLOT");
  return chosen != nullptr && *chosen != '\0' ? chosen : "gnuplot";
}

// One gnuplot process, waited for in wait() or, when something else failed first, in the destructor.
class Process {
 public:
  Process(const std::string& program, const fs::path& script, fs::path log)
      : program_(program), log_(std::move(log)) {
    SpawnFiles files;
    files.redirect_output(log_);
    std::string name = program, no_settings = "-d", argument = script.string();
    char* arguments[] = {name.data(), no_settings.data(), argument.data(), nullptr};
    const int error = posix_spawnp(&pid_, program.c_str(), files.get(), nullptr, arguments, environ);
    if (error != 0) {
      throw std::runtime_error(fmt::format(
          "gnuplot could not be started as '{}' ({}): install it (apt-get install gnuplot-nox) or name it "
          "in FCSA_GNUPLOT, and run fcsa report again",
          program, std::strerror(error)));
    }
  }
  ~Process() {
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
  }
  Process(Process&& other) noexcept
      : program_(std::move(other.program_)),
        log_(std::move(other.log_)),
        pid_(std::exchange(other.pid_, 0)) {}
  Process& operator=(Process&&) = delete;

  void wait() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    const std::string how = WIFSIGNALED(status) ? fmt::format("was ended by signal {}", WTERMSIG(status))
                                                : fmt::format("failed with status {}", WEXITSTATUS(status));
    throw std::runtime_error(fmt::format("'{}' {}: {}", program_, how, first_line(read_file(log_))));
  }

 private:
  std::string program_;
  fs::path log_;
  pid_t pid_ = 0;
};

fs::path svg_path(const fs::path& directory, std::size_t index) {
  return directory / fmt::format("{}.svg", index);
}

void write_script(const std::vector<Plot>& plots, const fs::path& directory, std::size_t first,
                  std::size_t step) {
  std::ofstream script(directory / fmt::format("{}.gp", first));
  for (std::size_t i = first; i < plots.size(); i += step) {
    if (!plots[i].empty()) script << gnuplot_script(plots[i], svg_path(directory, i).string());
  }
  script.close();
  if (!script) throw std::runtime_error(fmt::format("cannot write to {}", directory.string()));
}

std::vector<std::string> render(const std::vector<Plot>& plots) {
  const TemporaryDirectory directory;
  const std::string program = program_name();
  const std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
  const std::size_t jobs =
      std::clamp<std::size_t>(plots.size() / kPlotsPerProcess, 1, std::min<std::size_t>(cores, 4));
  std::vector<Process> processes;
  for (std::size_t job = 0; job < jobs; ++job) {
    write_script(plots, directory.path(), job, jobs);
    processes.emplace_back(program, directory.path() / fmt::format("{}.gp", job),
                           directory.path() / fmt::format("{}.log", job));
  }
  for (Process& process : processes) process.wait();

  std::vector<std::string> svgs;
  for (std::size_t i = 0; i < plots.size(); ++i) {
    svgs.push_back(plots[i].empty() ? std::string() : read_file(svg_path(directory.path(), i)));
    if (!plots[i].empty() && svgs.back().find("</svg>") == std::string::npos) {
      throw std::runtime_error(fmt::format("'{}' wrote no SVG: does it have the svg terminal?", program));
    }
  }
  return svgs;
}

}  // namespace

RenderedPlots render_plots(const std::vector<Plot>& plots) {
  if (std::all_of(plots.begin(), plots.end(), [](const Plot& plot) { return plot.empty(); })) {
    return {std::vector<std::string>(plots.size()), ""};
  }
  try {
    return {render(plots), ""};
  } catch (const std::exception& error) {
    return {std::vector<std::string>(plots.size()), error.what()};
  }
}

}  // namespace fcsa::reports
