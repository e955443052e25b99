// The library as a program has it, apart from what is on this machine: its own home, cache and compiler.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "library/fcsa.h"
#include "runner/process/temporary_directory.h"
#include "tests/runner/scoped_environment.h"

namespace fcsa::library {

struct CloseLibrary {
  void operator()(fcsa_library* library) const { fcsa_close(library); }
};
struct DestroyPlan {
  void operator()(fcsa_plan* plan) const { fcsa_plan_destroy(plan); }
};
using LibraryPtr = std::unique_ptr<fcsa_library, CloseLibrary>;
using PlanPtr = std::unique_ptr<fcsa_plan, DestroyPlan>;

class LibraryTest : public ::testing::Test {
 protected:
  // What the library says goes to said(); unless named, it looks for databases in the usual places.
  LibraryPtr open(const char* database = nullptr) {
    fcsa_options options = FCSA_OPTIONS_INIT;
    options.database = database;
    options.log = [](void* to, const char* line) {
      static_cast<std::vector<std::string>*>(to)->push_back(line);
    };
    options.log_data = &said_;
    fcsa_library* library = nullptr;
    EXPECT_EQ(fcsa_open(&options, &library), FCSA_OK) << fcsa_last_error();
    return LibraryPtr(library);
  }

  static PlanPtr plan(const LibraryPtr& library, const fcsa_problem& problem) {
    fcsa_plan* plan = nullptr;
    EXPECT_EQ(fcsa_plan_create(library.get(), &problem, &plan), FCSA_OK) << fcsa_last_error();
    return PlanPtr(plan);
  }

  const std::vector<std::string>& said() const { return said_; }
  const std::filesystem::path& home() const { return home_.path(); }

 private:
  runner::TemporaryDirectory home_;
  testing::ScopedEnvironment data_{"XDG_DATA_HOME", home_.path() / "data"};
  testing::ScopedEnvironment cache_{"XDG_CACHE_HOME", home_.path() / "cache"};
  testing::ScopedEnvironment database_{"FCSA_DB", ""};
  testing::ScopedEnvironment threads_{"FCSA_NUM_THREADS", "2"};
  std::vector<std::string> said_;
};

// Kernels that are built in run, so that nothing is compiled.
class LibraryWithoutCompilerTest : public LibraryTest {
 private:
  testing::ScopedEnvironment compiler_{"FCSA_CXX", "/nowhere/c++"};
};

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace fcsa::library
