// What several subcommands share: lists and ranges, the grid of problems, the device.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernels/problem.h"
#include "kernels/target.h"

namespace fcsa::cli {

// Wrong usage: exit status 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// "512,1024", "512:16384" (doubling), or a mix. Throws UsageError for anything malformed, empty or below 1.
std::vector<int> parse_sizes(const std::string& option, const std::string& text);
std::vector<std::string> parse_words(const std::string& option, const std::string& text);
// "90", "90s", "10m", "1.5h".
std::chrono::duration<double> parse_duration(const std::string& option, const std::string& text);
// "5%" is 0.05. Throws UsageError for what isn't above 0 and at most 100%.
double parse_percentage(const std::string& option, const std::string& text);

// Part i (from 0) of n: `--shard i/n`, or the rank and size that srun, mpirun or torchrun put into the
// environment.
struct Shard {
  int index = 0;
  int count = 1;
  int local_rank = -1;  // rank on this machine, -1 when unknown: chooses the GPU
};
Shard parse_shard(const std::string& text);

// Options that describe problems, as typed; problems() expands them.
struct ProblemOptions {
  std::string op = "fwd";
  std::string dtype = "f32";
  std::string head_dim = "64";
  std::string seq;  // nq = nk; default depends on the device
  std::string nq, nk;
  std::string batch, heads, kv_heads;
  std::string causal = "both";
  std::string mask = "no";
  std::string layout = "bhnd";
  float scale = 8.0f;
  bool raw = false;
  std::string groups = "1";
  std::optional<float> logit_bound;
  std::string bias = "none";
  std::string bias_batch, bias_heads;
  std::string head_scale = "no";
  bool tf32 = false;                  // of the problems in f32
  std::string bias_gradient = "no";   // of the backward problems with a bias
  std::string scale_gradient = "no";  // of the backward problems
  bool deterministic = false;         // the backward problems

  void add_to(CLI::App& app);  // all of them
  void add_op_to(CLI::App& app);
  void add_grid_to(CLI::App& app);  // all but --op
  // Throws UsageError naming the option. Without --batch and --heads: 16,384 tokens and heads x dim = 2048 on
  // a GPU, 4,096 tokens and heads x dim = 512 on a CPU.
  std::vector<kernels::Problem> problems(kernels::DeviceKind kind) const;
  std::vector<kernels::Op> ops() const;

 private:
  std::vector<std::pair<int, int>> lengths(bool gpu) const;  // nq, nk
  void add_features(std::vector<kernels::Problem>& list) const;
};

// "cpu" or "cuda:N" for "auto", "cpu", "cuda", "cuda:N". Asks a child process what there is. Throws
// UsageError for a selector that is not one.
std::string resolve_device(const std::string& selector, const Shard& shard);
std::string executable_path();

}  // namespace fcsa::cli
