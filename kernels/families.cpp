#include "kernels/families.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace fcsa::kernels {
namespace {

std::vector<std::unique_ptr<Family>> make_families() {
  std::vector<std::unique_ptr<Family>> list;
  list.push_back(make_wgmma_family());
  list.push_back(make_mma_family());
  list.push_back(make_simt_family());
  list.push_back(make_cpu_family());
  list.push_back(make_unfused_cuda_family());
  list.push_back(make_unfused_cpu_family());
  return list;
}

}  // namespace

const std::vector<std::unique_ptr<Family>>& families() {
  static const std::vector<std::unique_ptr<Family>> list = make_families();
  return list;
}

const Family& family_named(std::string_view name) {
  std::string known;
  for (const auto& family : families()) {
    if (family->name() == name) return *family;
    known += (known.empty() ? "" : ", ") + family->name();
  }
  throw std::invalid_argument(fmt::format("there is no kernel family '{}': this build has {}", name, known));
}

const Family& family_of_kernel(std::string_view kernel) {
  return family_named(kernel.substr(0, kernel.find('.')));
}

Op op_of_kernel(std::string_view kernel) {
  const std::string name = kernel_of(kernel);
  return op_from_text(name.substr(std::min(name.size(), name.find('.') + 1)));
}

Kernel parse_kernel(std::string_view text) {
  const Family& family = family_of_kernel(text);
  const Op op = op_of_kernel(text);
  return {&family, op, configuration_from_text(text, kernel_name(family, op), family.parameters(op))};
}

}  // namespace fcsa::kernels
