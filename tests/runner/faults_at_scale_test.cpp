// A thousand trials on a bad day: two tuners share a database and a cache while kernels hang, fault and lie,
// compilers crash, processes are killed and disks fill up.
#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "runner/process/temporary_directory.h"
#include "tests/runner/fault_family.h"
#include "tests/runner/processes.h"
#include "tuner/trials/store.h"

namespace fcsa::runner {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;
using tuner::Status;
using tuner::Store;

std::string expected_status(int number) {
  switch (fault_of(number)) {
    case Fault::none:
      return "ok";
    case Fault::hangs:
    case Fault::compiler_hangs:
      return "timed_out";
    case Fault::illegal_access:
    case Fault::aborts:
    case Fault::exits:
    case Fault::killed:
    case Fault::dies_when_measured:
      return "crashed";
    case Fault::compile_process_killed:
      return "out_of_memory";
    case Fault::writes_nan:
    case Fault::off_by_one_key:
    case Fault::stale_row:
    case Fault::writes_behind:
      return "wrong_result";
    case Fault::source_error:
    case Fault::compiler_crashes:
      return "compile_failed";
  }
  return "";
}

// By every run.
bool is_tried_again(int number) {
  return expected_status(number) == "out_of_memory";
}

// In memory where that is possible: what is tested is the death of processes, not the speed of disks.
std::string place() {
  return ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : fs::temp_directory_path().string();
}

std::vector<pid_t> processes() {
  std::vector<pid_t> found;
  std::error_code ended;
  for (fs::directory_iterator entry("/proc", ended), end; !ended && entry != end; entry.increment(ended)) {
    const std::string name = entry->path().filename();
    if (name.find_first_not_of("0123456789") == std::string::npos) found.push_back(std::stoi(name));
  }
  return found;
}

// Child processes of `parent` that were started as `role`.
std::vector<pid_t> children(pid_t parent, const std::string& role) {
  std::vector<pid_t> found;
  for (const pid_t pid : processes()) {
    const std::string folder = "/proc/" + std::to_string(pid), stat = text_of(folder + "/stat");
    const auto after_name = stat.rfind(')');
    if (after_name == std::string::npos || std::stoi(stat.substr(after_name + 4)) != parent) continue;
    if (text_of(folder + "/cmdline").find(role) != std::string::npos) found.push_back(pid);
  }
  return found;
}

// What happens to a tuner when so many trials have been reported as done.
enum class Blow { kill_tuner, kill_worker, kill_compiler, fill_disk, fill_compilers_disk };
struct Event {
  std::size_t after = 0;
  Blow blow = Blow::kill_tuner;
};

struct LogLine {
  std::string session, status, origin;
  int number = 0;
};

// One of the tuners: started again until it is done.
class Tuner {
 public:
  Tuner(fs::path folder, int keys, std::vector<Event> events)
      : folder_(std::move(folder)), keys_(keys), events_(std::move(events)) {}

  bool done() const { return done_; }
  const std::string& winner() const { return winner_; }
  std::size_t deaths() const { return deaths_; }
  int keys() const { return keys_; }

  // Starts it, strikes it, or takes note of its end.
  void step() {
    if (pid_ < 0) return start();
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) return ended(status);
    if (expected_complaint_.empty() && next_ < events_.size() && finished() >= events_[next_].after) strike();
  }
  void kill() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
  }

  std::vector<LogLine> log() const {
    std::vector<LogLine> lines;
    std::ifstream file(path("log"));
    for (LogLine line; file >> line.session >> line.number >> line.status >> line.origin;)
      lines.push_back(line);
    return lines;
  }

 private:
  fs::path path(const std::string& name) const { return folder_ / (name + std::to_string(keys_)); }

  std::size_t finished() const {
    const auto lines = log();
    return static_cast<std::size_t>(
        std::count_if(lines.begin(), lines.end(), [](const LogLine& line) { return line.origin == "new"; }));
  }

  void start() {
    std::vector<std::string> words = {FCSA_FAULT_TUNER, folder_ / "tuning.db", folder_ / "cache", path("log"),
                                      std::to_string(keys_)};
    if (largest_file_ > 0) words.push_back(std::to_string(largest_file_));
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    for (const auto& [stream, descriptor] :
         {std::pair("out", STDOUT_FILENO), std::pair("err", STDERR_FILENO)})
      ::dup2(::open(path(stream).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666), descriptor);
    ::setenv("FCSA_FAULT_NO_ROOM", path("no_room").c_str(), 1);
    ::execv(arguments.front(), arguments.data());
    ::_exit(127);
  }

  void strike() {
    switch (events_[next_].blow) {
      case Blow::kill_tuner:
        ::kill(pid_, SIGKILL);
        break;
      case Blow::kill_worker:
        if (!kill_one("__worker")) return;
        break;
      case Blow::kill_compiler:
        if (!kill_one("__compile")) return;
        break;
      case Blow::fill_disk:
        ::kill(pid_, SIGKILL);
        largest_file_ = fs::file_size(folder_ / "tuning.db") + (20 << 10);
        expected_complaint_ = "the disk is full";
        break;
      case Blow::fill_compilers_disk:
        std::ofstream(path("no_room")) << "\n";
        expected_complaint_ = "no space left";
        break;
    }
    ++next_;
  }

  bool kill_one(const std::string& role) const {
    const auto found = children(pid_, role);
    return !found.empty() && ::kill(found.front(), SIGKILL) == 0;
  }

  void ended(int status) {
    pid_ = -1;
    const std::string complaint = text_of(path("err"));
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
      ++deaths_;
    } else if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
      done_ = true;
      std::ifstream(path("out")) >> winner_;
    } else if (!expected_complaint_.empty() && complaint.find(expected_complaint_) != std::string::npos) {
      ++deaths_;
      expected_complaint_.clear();
      largest_file_ = 0;
      fs::remove(path("no_room"));
    } else {
      done_ = true;
      ADD_FAILURE() << "the tuner ended with wait status " << status << ": " << complaint;
    }
  }

  fs::path folder_;
  int keys_;
  std::vector<Event> events_;
  std::size_t next_ = 0, deaths_ = 0;
  pid_t pid_ = -1;
  std::uintmax_t largest_file_ = 0;  // 0: no limit
  std::string expected_complaint_;   // of a tuner that has to end by itself
  bool done_ = false;
  std::string winner_;
};

class FaultsAtScale : public testing::Test {
 protected:
  FaultsAtScale() {
    fs::create_directory(file("tmp"));
    ::setenv("TMPDIR", file("tmp").c_str(), 1);
    ::setenv("FCSA_CXX", FCSA_STAND_IN_COMPILER, 1);
    ::setenv("FCSA_FAULT_KERNEL", file("kernel.so").c_str(), 1);
    // The time of a launch is that of the kernel, not of waking up threads on a busy machine.
    ::setenv("FCSA_NUM_THREADS", "1", 1);
    // A death is a death, without a report that takes longer than all trials together.
    ::setenv("ASAN_OPTIONS", "handle_segv=0:handle_abort=0", 1);
  }

  fs::path file(const std::string& name) const { return directory_.path() / name; }

  void compile_kernel() const {
    std::ofstream(file("kernel.cpp")) << fault_kernel_text();
    const std::string command = std::string(FCSA_TEST_CXX) +
                                " -std=c++20 -O3 -march=native -ffast-math -fno-finite-math-only "
                                "-fno-associative-math -fPIC -shared -o " +
                                file("kernel.so").string() + " " + file("kernel.cpp").string();
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }

  // Blows of every kind at places that the seed decides, far enough from each other that no trial is struck
  // twice.
  static std::vector<Event> events(std::vector<Blow> blows, unsigned seed) {
    std::mt19937 random(seed);
    std::shuffle(blows.begin(), blows.end(), random);
    std::vector<Event> events;
    const std::size_t spacing = (kFaultConfigurations - 80) / blows.size();
    for (std::size_t i = 0; i < blows.size(); ++i)
      events.push_back({1 + i * spacing + random() % (spacing / 2), blows[i]});
    // The race is on.
    events.push_back({kFaultConfigurations, Blow::kill_worker});
    events.push_back({kFaultConfigurations, Blow::kill_tuner});
    return events;
  }

  static void run(std::vector<Tuner>& tuners, std::chrono::seconds patience) {
    const bool done = becomes_true(
        [&] {
          for (auto& tuner : tuners)
            if (!tuner.done()) tuner.step();
          return std::all_of(tuners.begin(), tuners.end(), [](const Tuner& tuner) { return tuner.done(); });
        },
        patience);
    for (auto& tuner : tuners) tuner.kill();
    ASSERT_TRUE(done) << "still at it after " << patience.count() << " s";
  }

  std::vector<tuner::StoredTrial> trials() const {
    return Store(file("tuning.db"), Store::Mode::read_only).trials();
  }

  void expect_every_trial_once(const Tuner& tuner) const {
    std::map<int, std::vector<tuner::StoredTrial>> by_number;
    for (const auto& stored : trials()) {
      if (stored.trial.problem.nk != tuner.keys() || stored.trial.phase != tuner::Phase::search) continue;
      const FaultFamily family;
      const auto configuration = kernels::configuration_from_text(stored.trial.configuration, "text.forward",
                                                                  family.parameters(kernels::Op::forward));
      by_number[configuration.at("number")].push_back(stored);
    }
    for (int number = 0; number < kFaultConfigurations; ++number) {
      const auto& stored = by_number[number];
      if (is_tried_again(number))
        ASSERT_GE(stored.size(), 1U) << "configuration " << number;
      else
        ASSERT_EQ(stored.size(), 1U) << "configuration " << number;
      EXPECT_EQ(tuner::to_text(stored[0].trial.evaluation.status), expected_status(number))
          << "configuration " << number << ": " << stored[0].trial.evaluation.message;
    }
    std::set<int> reported;
    for (const auto& line : tuner.log()) {
      if (line.origin != "new" || (is_tried_again(line.number) && !reported.insert(line.number).second))
        continue;
      if (is_tried_again(line.number)) continue;
      EXPECT_TRUE(reported.insert(line.number).second) << line.number << " was reported twice";
      EXPECT_EQ(by_number[line.number][0].session.id, line.session);
      EXPECT_EQ(tuner::to_text(by_number[line.number][0].trial.evaluation.status), line.status);
    }
    // Killed between recording a trial and saying so.
    EXPECT_GE(reported.size() + tuner.deaths(), std::size_t{kFaultConfigurations});
  }

  void expect_whole_races_and_the_right_winner(const Tuner& tuner) const {
    EXPECT_EQ(tuner.winner(), "text.forward{number=" + std::to_string(kFaultWinner) + "}");
    std::map<std::string, std::size_t> contenders;
    for (const auto& stored : trials())
      if (stored.trial.problem.nk == tuner.keys() && stored.trial.phase == tuner::Phase::confirm)
        ++contenders[stored.trial.race_id];
    EXPECT_FALSE(contenders.empty());
    for (const auto& [race, count] : contenders) EXPECT_EQ(count, 5U) << race;
  }

  // Locks, processes, temporary files, damage.
  void expect_nothing_left() const {
    const auto still_running = [&] {
      const auto all = processes();
      return std::any_of(all.begin(), all.end(), [&](pid_t pid) {
        return pid != ::getpid() && is_alive(pid) &&
               text_of("/proc/" + std::to_string(pid) + "/environ").find(file("tmp").string()) !=
                   std::string::npos;
      });
    };
    EXPECT_TRUE(becomes_true([&] { return !still_running(); }));
    EXPECT_TRUE(fs::is_empty(file("tmp"))) << fs::directory_iterator(file("tmp"))->path();
    for (const auto& entry : fs::directory_iterator(file("cache")))
      EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
    const fs::path journal = file("tuning.db-journal");
    EXPECT_TRUE(!fs::exists(journal) || fs::file_size(journal) == 0);
    Store store(file("tuning.db"), Store::Mode::read_write, 0ms);  // no wait: no lock may be left
    store.begin_session({});
    SQLite::Database database(file("tuning.db"));
    EXPECT_EQ(database.execAndGet("PRAGMA integrity_check").getString(), "ok");
  }

 private:
  TemporaryDirectory directory_{place()};
};

TEST_F(FaultsAtScale, AThousandTrialsEndWithEachRecordedOnceAndTheRightWinner) {
  ASSERT_NO_FATAL_FAILURE(compile_kernel());
  using enum Blow;
  std::vector<Tuner> tuners;
  tuners.emplace_back(file(""), 7,
                      events({kill_tuner, kill_tuner, kill_tuner, kill_worker, kill_worker, kill_worker,
                              kill_compiler, kill_compiler, fill_disk, fill_compilers_disk},
                             1));
  tuners.emplace_back(
      file(""), 9, events({kill_tuner, kill_tuner, kill_worker, kill_worker, kill_compiler, fill_disk}, 2));
  ASSERT_NO_FATAL_FAILURE(run(tuners, 900s));
  for (const auto& tuner : tuners) {
    SCOPED_TRACE("the tuner of " + std::to_string(tuner.keys()) + " keys");
    expect_every_trial_once(tuner);
    expect_whole_races_and_the_right_winner(tuner);
  }
  expect_nothing_left();
}

}  // namespace
}  // namespace fcsa::runner
