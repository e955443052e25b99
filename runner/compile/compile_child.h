// One compile process as a compile pool's thread sees it: questions and answers.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "runner/compile/compile_pool.h"
#include "runner/process/child_process.h"
#include "runner/process/temporary_directory.h"

namespace fcsa::runner {

// Started when it is needed, and again after it hung or died. Belongs to one thread: the process dies with
// it.
class CompileChild {
 public:
  struct Answer {
    Received::Kind kind = Received::Kind::ended;
    nlohmann::json message;
    std::string report;  // how the process ended
    bool killed_from_outside = false;
  };

  // `stopping` makes a question time out at once. Both must outlive this object.
  CompileChild(const CompilePoolOptions& options, const std::function<bool()>& stopping)
      : options_(options), stopping_(stopping) {}

  // A process that is killed from outside is started again and asked once more.
  Answer ask(const nlohmann::json& question);

 private:
  Answer ask_once(const nlohmann::json& question);
  void start();
  void end();
  Received receive(SteadyTime deadline);

  const CompilePoolOptions& options_;
  const std::function<bool()>& stopping_;
  // The compiler's temporary files: a killed process doesn't remove them. Goes after the process.
  std::unique_ptr<TemporaryDirectory> directory_;
  std::unique_ptr<ChildProcess> child_;
};

}  // namespace fcsa::runner
