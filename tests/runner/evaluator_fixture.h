// A ProcessEvaluator on the CPU with the test's own worker program and cache.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "runner/process/temporary_directory.h"
#include "runner/process_evaluator.h"
#include "tests/runner/processes.h"
#include "tests/runner/test_families.h"

namespace fcsa::runner {

class EvaluatorTest : public testing::Test {
 protected:
  // Quick rather than exact.
  ProcessEvaluatorOptions options() const {
    ProcessEvaluatorOptions options;
    options.executable = FCSA_WORKER_PROGRAM;
    options.compile_jobs = 2;
    options.cache_directory = directory_.path() / "cache";
    options.measurement.min_samples = 3;
    options.measurement.max_samples = 5;
    options.measurement.max_seconds = 0.05;
    return options;
  }

  std::filesystem::path file(const std::string& name) const { return directory_.path() / name; }

 private:
  TemporaryDirectory directory_;
};

// Set for a scope; children started in it inherit it.
class EnvironmentVariable {
 public:
  EnvironmentVariable(std::string name, const std::string& value) : name_(std::move(name)) {
    if (const char* old = std::getenv(name_.c_str()); old != nullptr) old_ = old;
    ::setenv(name_.c_str(), value.c_str(), 1);
  }
  ~EnvironmentVariable() {
    if (old_.empty()) {
      ::unsetenv(name_.c_str());
    } else {
      ::setenv(name_.c_str(), old_.c_str(), 1);
    }
  }
  EnvironmentVariable(const EnvironmentVariable&) = delete;
  EnvironmentVariable& operator=(const EnvironmentVariable&) = delete;

 private:
  std::string name_;
  std::string old_;
};

}  // namespace fcsa::runner
