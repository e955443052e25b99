#include "cli/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <tuple>

#include "runner/inventory_process.h"

namespace fcsa::cli {
namespace {

int parse_int(const std::string& option, std::string_view text, int least) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    throw UsageError(fmt::format("{}: '{}' is not a whole number", option, text));
  if (value < least) throw UsageError(fmt::format("{}: {} is below {}", option, value, least));
  return value;
}

void append_range(const std::string& option, const std::string& word, std::vector<int>& sizes) {
  const auto colon = word.find(':');
  const int first = parse_int(option, std::string_view(word).substr(0, colon), 1);
  const int last = parse_int(option, std::string_view(word).substr(colon + 1), 1);
  if (first > last) throw UsageError(fmt::format("{}: the range {} is empty", option, word));
  for (long long size = first; size <= last; size *= 2) sizes.push_back(static_cast<int>(size));
}

// "yes", "no" or "both".
std::vector<bool> parse_switch(const std::string& option, const std::string& text) {
  if (text == "both") return {false, true};
  if (text == "yes" || text == "true" || text == "1") return {true};
  if (text == "no" || text == "false" || text == "0") return {false};
  throw UsageError(fmt::format("{}: '{}' is not yes, no or both", option, text));
}

template <typename Parse>
auto parse_each(const std::string& option, const std::string& text, Parse parse) {
  std::vector<decltype(parse(std::string()))> values;
  for (const auto& word : parse_words(option, text)) {
    try {
      values.push_back(parse(word));
    } catch (const std::invalid_argument& error) {
      throw UsageError(fmt::format("{}: {}", option, error.what()));
    }
  }
  return values;
}

// Every problem once with each of the values that `values(problem)` gives.
template <typename Values, typename Set>
void multiply(std::vector<kernels::Problem>& problems, const Values& values, const Set& set) {
  std::vector<kernels::Problem> product;
  for (const auto& problem : problems)
    for (const auto& value : values(problem)) {
      product.push_back(problem);
      set(product.back(), value);
    }
  problems = std::move(product);
}

template <typename T, typename Field>
void multiply_field(std::vector<kernels::Problem>& problems, const std::vector<T>& values,
                    Field kernels::Problem::*field) {
  multiply(
      problems, [&](const kernels::Problem&) { return values; },
      [&](kernels::Problem& problem, T value) { problem.*field = value; });
}

// A size of the bias, for problems that have one. As many as the tensors have is the default and has no text.
void multiply_bias_size(std::vector<kernels::Problem>& problems, const std::vector<int>& sizes,
                        int kernels::Problem::*field, int kernels::Problem::*full) {
  multiply(
      problems,
      [&](const kernels::Problem& problem) {
        return problem.bias == kernels::Bias::none ? std::vector<int>{0} : sizes;
      },
      [&](kernels::Problem& problem, int size) { problem.*field = size == problem.*full ? 0 : size; });
}

// A switch of the problems that `has` is true of. Wrong usage where it is on and that is none.
template <typename Has>
void multiply_where(std::vector<kernels::Problem>& problems, const std::string& option,
                    const std::string& text, bool kernels::Problem::*field, const char* about,
                    const Has& has) {
  const std::vector<bool> values = parse_switch(option, text);
  if (values.back() && std::none_of(problems.begin(), problems.end(), has))
    throw UsageError(fmt::format("{} is about {}", option, about));
  multiply(
      problems,
      [&](const kernels::Problem& problem) { return has(problem) ? values : std::vector<bool>{false}; },
      [&](kernels::Problem& problem, bool value) { problem.*field = value; });
}

std::pair<const char*, const char*> rank_variables() {
  const std::pair<const char*, const char*> known[] = {{"RANK", "WORLD_SIZE"},
                                                       {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                                                       {"SLURM_PROCID", "SLURM_NTASKS"}};
  for (const auto& [rank, size] : known)
    if (std::getenv(rank) && std::getenv(size)) return {rank, size};
  return {nullptr, nullptr};
}

int local_rank() {
  for (const char* name : {"LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"})
    if (const char* value = std::getenv(name)) return parse_int(name, value, 0);
  return -1;
}

// Validated, without those that were there before.
std::vector<kernels::Problem> each_once(const std::vector<kernels::Problem>& problems) {
  std::vector<kernels::Problem> list;
  std::set<std::string> seen;
  for (const auto& problem : problems) {
    try {
      kernels::validate(problem);
    } catch (const std::invalid_argument& error) {
      throw UsageError(error.what());
    }
    if (seen.insert(kernels::to_text(problem)).second) list.push_back(problem);
  }
  return list;
}

}  // namespace

std::vector<std::string> parse_words(const std::string& option, const std::string& text) {
  std::vector<std::string> words;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const auto comma = std::min(text.find(',', begin), text.size());
    words.push_back(text.substr(begin, comma - begin));
    if (words.back().empty())
      throw UsageError(fmt::format("{}: '{}' is not a list: something is missing at a comma", option, text));
    begin = comma + 1;
  }
  return words;
}

std::vector<int> parse_sizes(const std::string& option, const std::string& text) {
  std::vector<int> sizes;
  for (const auto& word : parse_words(option, text)) {
    if (word.find(':') != std::string::npos)
      append_range(option, word, sizes);
    else
      sizes.push_back(parse_int(option, word, 1));
  }
  return sizes;
}

std::chrono::duration<double> parse_duration(const std::string& option, const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string unit(end, text.data() + text.size());
  const double seconds = unit.empty() || unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
  if (error != std::errc{} || seconds == 0 || !(value > 0) || !std::isfinite(value))
    throw UsageError(fmt::format("{}: '{}' is not a duration such as 90s, 10m or 1.5h", option, text));
  return std::chrono::duration<double>(value * seconds);
}

double parse_percentage(const std::string& option, const std::string& text) {
  double percent = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), percent);
  if (error != std::errc{} || std::string_view(end, text.data() + text.size()) != "%")
    throw UsageError(fmt::format("{}: '{}' is not a percentage such as 5%", option, text));
  if (!(percent > 0 && percent <= 100))
    throw UsageError(fmt::format("{}: {} is not above 0% and at most 100%", option, text));
  return percent / 100;
}

Shard parse_shard(const std::string& text) {
  Shard shard;
  shard.local_rank = local_rank();
  if (!text.empty()) {
    const auto slash = text.find('/');
    if (slash == std::string::npos)
      throw UsageError(fmt::format("--shard: '{}' is not i/n, such as 0/8", text));
    shard.index = parse_int("--shard", std::string_view(text).substr(0, slash), 0);
    shard.count = parse_int("--shard", std::string_view(text).substr(slash + 1), 1);
  } else if (const auto [rank, size] = rank_variables(); rank) {
    shard.index = parse_int(rank, std::getenv(rank), 0);
    shard.count = parse_int(size, std::getenv(size), 1);
  }
  if (shard.index >= shard.count)
    throw UsageError(fmt::format("--shard: part {} of {}: parts count from 0", shard.index, shard.count));
  return shard;
}

void ProblemOptions::add_to(CLI::App& app) {
  add_op_to(app);
  add_grid_to(app);
}

void ProblemOptions::add_op_to(CLI::App& app) {
  app.add_option("--op", op, "Operations: fwd, bwd")->capture_default_str();
}

void ProblemOptions::add_grid_to(CLI::App& app) {
  app.add_option("--dtype", dtype, "Storage types: f32, bf16, f16")->capture_default_str();
  app.add_option("--head-dim", head_dim, "Head dimensions")->capture_default_str();
  app.add_option("--seq", seq, "Lengths, nq = nk: 512,1024 or 512:16384 (doubling)");
  app.add_option("--nq", nq, "Query lengths, each with every --nk");
  app.add_option("--nk", nk, "Key lengths");
  app.add_option("--batch", batch, "Batch sizes [tokens / longest length]");
  app.add_option("--heads", heads, "Query heads [2048 / head dim on a GPU, 512 / head dim on a CPU]");
  app.add_option("--kv-heads", kv_heads, "Key/value heads [as many as query heads]");
  app.add_option("--causal", causal, "yes, no or both")->capture_default_str();
  app.add_option("--mask", mask, "Key padding mask: yes, no or both")->capture_default_str();
  app.add_option("--layout", layout, "Order of batch, heads, rows, channels: bhnd, bnhd")
      ->capture_default_str();
  app.add_option("--scale", scale, "Scale of the logits")->capture_default_str();
  app.add_flag("--no-l2norm", raw, "Inputs are not normalised by the kernel");
  app.add_option("--groups", groups, "Parts of the head dimension that are normalised each by itself")
      ->capture_default_str();
  app.add_option("--logit-bound", logit_bound, "Promise that no logit is larger [from scale, if it can be]");
  app.add_option("--bias", bias, "Additive bias: none, f32, or same as the storage type")
      ->capture_default_str();
  app.add_option("--bias-batch", bias_batch, "Batches of the bias, a divisor of the batch size [all]");
  app.add_option("--bias-heads", bias_heads, "Heads of the bias: 1 for one that all share [all]");
  app.add_option("--head-scale", head_scale, "Scale per query head: yes, no or both")->capture_default_str();
  app.add_flag("--tf32", tf32, "Products of f32 tensors may be rounded to TF32");
  app.add_option("--bias-gradient", bias_gradient, "Backward: gradient of the bias: yes, no or both")
      ->capture_default_str();
  app.add_option("--scale-gradient", scale_gradient, "Backward: gradient of the scale: yes, no or both")
      ->capture_default_str();
  app.add_flag("--deterministic", deterministic, "Backward: the same bits from every run");
}

std::vector<std::pair<int, int>> ProblemOptions::lengths(bool gpu) const {
  if (nq.empty() != nk.empty()) throw UsageError("--nq and --nk are given together, or use --seq");
  if (!seq.empty() && !nq.empty()) throw UsageError("--seq excludes --nq and --nk");
  std::vector<std::pair<int, int>> pairs;
  if (nq.empty()) {
    const std::string text = !seq.empty() ? seq : gpu ? "512:16384" : "512:4096";
    for (int n : parse_sizes("--seq", text)) pairs.emplace_back(n, n);
  } else {
    for (int q : parse_sizes("--nq", nq))
      for (int k : parse_sizes("--nk", nk)) pairs.emplace_back(q, k);
  }
  return pairs;
}

void ProblemOptions::add_features(std::vector<kernels::Problem>& list) const {
  using kernels::Problem;
  multiply_field(list, parse_sizes("--groups", groups), &Problem::groups);
  multiply_field(list, parse_each("--bias", bias, kernels::bias_from_text), &Problem::bias);
  multiply_field(list, parse_switch("--head-scale", head_scale), &Problem::head_scale);
  const bool sized = !bias_batch.empty() || !bias_heads.empty();
  const auto has_bias = [](const Problem& p) { return p.bias != kernels::Bias::none; };
  if (sized && std::none_of(list.begin(), list.end(), has_bias))
    throw UsageError("--bias-batch and --bias-heads are sizes of a bias: add --bias same or --bias f32");
  if (!bias_batch.empty())
    multiply_bias_size(list, parse_sizes("--bias-batch", bias_batch), &Problem::bias_batch, &Problem::batch);
  if (!bias_heads.empty())
    multiply_bias_size(list, parse_sizes("--bias-heads", bias_heads), &Problem::bias_heads, &Problem::heads);
  const auto is_f32 = [](const Problem& p) { return p.dtype == kernels::DType::f32; };
  if (tf32 && std::none_of(list.begin(), list.end(), is_f32))
    throw UsageError("--tf32 is about products of f32 tensors: add f32 to --dtype");
  for (Problem& p : list) p.allow_tf32 = tf32 && is_f32(p);
  const auto is_backward = [](const Problem& p) { return p.op == kernels::Op::backward; };
  multiply_where(list, "--bias-gradient", bias_gradient, &Problem::bias_gradient,
                 "gradients of a bias: add bwd to --op, and --bias same or --bias f32",
                 [&](const Problem& p) { return is_backward(p) && has_bias(p); });
  multiply_where(list, "--scale-gradient", scale_gradient, &Problem::scale_gradient,
                 "a gradient: add bwd to --op", is_backward);
  if (deterministic && std::none_of(list.begin(), list.end(), is_backward))
    throw UsageError(
        "--deterministic is about the backward pass: add bwd to --op (the forward pass always is)");
  for (Problem& p : list) p.deterministic = deterministic && is_backward(p);
}

std::vector<kernels::Op> ProblemOptions::ops() const {
  return parse_each("--op", op, kernels::op_from_text);
}

std::vector<kernels::Problem> ProblemOptions::problems(kernels::DeviceKind kind) const {
  using kernels::Problem;
  const bool gpu = kind == kernels::DeviceKind::cuda;
  const int tokens = gpu ? 16384 : 4096, hidden = gpu ? 2048 : 512;
  const auto sizes_or = [](const char* option, const std::string& text, int otherwise) {
    return text.empty() ? std::vector<int>{otherwise} : parse_sizes(option, text);
  };

  Problem first;
  first.scale = scale;
  first.l2norm_qk = !raw;
  if (logit_bound) first.logit_bound = *logit_bound;
  std::vector<Problem> list{first};
  multiply_field(list, ops(), &Problem::op);
  multiply_field(list, parse_each("--dtype", dtype, kernels::dtype_from_text), &Problem::dtype);
  multiply_field(list, parse_sizes("--head-dim", head_dim), &Problem::head_dim);
  multiply_field(list, parse_switch("--causal", causal), &Problem::causal);
  multiply_field(list, parse_switch("--mask", mask), &Problem::key_mask);
  multiply_field(list, parse_each("--layout", layout, kernels::layout_from_text), &Problem::layout);
  const auto pairs = lengths(gpu);
  multiply(
      list, [&](const Problem&) { return pairs; },
      [](Problem& p, const std::pair<int, int>& pair) { std::tie(p.nq, p.nk) = pair; });
  multiply(
      list,
      [&](const Problem& p) {
        return sizes_or("--batch", batch, std::max(1, tokens / std::max(p.nq, p.nk)));
      },
      [](Problem& p, int value) { p.batch = value; });
  multiply(
      list, [&](const Problem& p) { return sizes_or("--heads", heads, std::max(1, hidden / p.head_dim)); },
      [](Problem& p, int value) { p.heads = value; });
  multiply(
      list, [&](const Problem& p) { return sizes_or("--kv-heads", kv_heads, p.heads); },
      [](Problem& p, int value) { p.kv_heads = value; });
  add_features(list);
  return each_once(list);
}

std::string resolve_device(const std::string& selector, const Shard& shard) {
  if (selector == "cpu") return selector;
  if (selector.starts_with("cuda:")) {
    parse_int("--device", std::string_view(selector).substr(5), 0);
    return selector;
  }
  if (selector != "auto" && selector != "cuda")
    throw UsageError(fmt::format("--device: '{}' is not auto, cpu, cuda or cuda:N", selector));
  const runner::Inventory inventory = runner::inventory_from_child(executable_path());
  std::vector<std::string> gpus;
  for (const auto& device : inventory.devices)
    if (device.usable && device.info.target.kind == kernels::DeviceKind::cuda)
      gpus.push_back(device.info.selector());
  if (!gpus.empty()) return gpus[shard.local_rank < 0 ? 0 : shard.local_rank % gpus.size()];
  if (selector == "cuda")
    throw std::runtime_error("no usable CUDA device: `fcsa devices` says what is missing");
  return "cpu";
}

std::string executable_path() {
  return std::filesystem::read_symlink("/proc/self/exe").string();
}

}  // namespace fcsa::cli
