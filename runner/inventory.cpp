#include <fmt/format.h>

#include <charconv>
#include <stdexcept>
#include <utility>

#include "kernels/cpu/instruction_set.h"
#include "runner/cpu/cpu_device.h"
#include "runner/cuda/cuda_device.h"
#include "runner/cuda/nvrtc_library.h"
#include "runner/device/compiler.h"
#include "runner/device/device.h"

namespace fcsa::runner {
namespace {

constexpr const char* kNoCompiler = "none";

Inventory::Library describe_nvrtc() {
  try {
    const auto nvrtc = cuda::NvrtcLibrary::find(cuda::default_nvrtc_search());
    return {"NVRTC", nvrtc.version().text(), nvrtc.path(), ""};
  } catch (const std::runtime_error& error) {
    return {"NVRTC", "", "", error.what()};
  }
}

Inventory::Library describe_system_compiler() {
  try {
    const auto compiler = make_system_compiler();
    kernels::Target target;
    target.arch = kernels::cpu::host_instruction_set();
    compiler->check(target);
    return {"C++ compiler", compiler->version(), "", ""};
  } catch (const std::runtime_error& error) {
    return {"C++ compiler", "", "", error.what()};
  }
}

std::string version_or_none(const Inventory::Library& library) {
  return library.problem.empty() ? library.version : kNoCompiler;
}

Inventory::Library describe_nvml(const cuda::Nvml* nvml, const std::string& problem) {
  if (nvml == nullptr) return {"NVML", "", "", problem};
  return {"NVML", nvml->driver_version(), nvml->path(), ""};
}

void add_cuda_devices(Inventory& inventory, const cuda::Driver& driver, const cuda::Nvml* nvml,
                      const Inventory::Library& nvrtc) {
  int count = 0;
  driver.check(driver.device_get_count(&count), "cuDeviceGetCount");
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    DeviceReport report;
    report.info = cuda::describe(driver, nvml, ordinal);
    report.info.compiler = version_or_none(nvrtc);
    report.usable = nvrtc.problem.empty();
    report.missing = nvrtc.problem;
    inventory.devices.push_back(std::move(report));
  }
}

void add_cuda(Inventory& inventory) {
  const Inventory::Library nvrtc = describe_nvrtc();
  std::unique_ptr<cuda::Nvml> nvml;
  std::string nvml_problem;
  try {
    nvml = std::make_unique<cuda::Nvml>();
  } catch (const std::runtime_error& error) {
    nvml_problem = error.what();
  }
  try {
    const cuda::Driver driver;
    inventory.libraries.push_back(
        {"libcuda", fmt::format("CUDA {}.{}", driver.version() / 1000, driver.version() % 1000 / 10),
         driver.path(), ""});
    add_cuda_devices(inventory, driver, nvml.get(), nvrtc);
  } catch (const std::runtime_error& error) {
    inventory.libraries.push_back({"libcuda", "", "", error.what()});
  }
  inventory.libraries.push_back(nvrtc);
  inventory.libraries.push_back(describe_nvml(nvml.get(), nvml_problem));
}

void add_cpu(Inventory& inventory) {
  const Inventory::Library compiler = describe_system_compiler();
  DeviceReport report;
  report.info = cpu::describe_cpu(version_or_none(compiler));
  report.usable = compiler.problem.empty();
  report.missing = compiler.problem;
  inventory.devices.push_back(std::move(report));
  inventory.libraries.push_back(compiler);
}

}  // namespace

Inventory take_inventory() {
  Inventory inventory;
  add_cuda(inventory);
  add_cpu(inventory);
  return inventory;
}

std::unique_ptr<Device> open_device(const std::string& selector) {
  if (selector == "cpu") return cpu::open_cpu_device(version_or_none(describe_system_compiler()));
  constexpr std::string_view kCuda = "cuda:";
  int ordinal = -1;
  if (selector.starts_with(kCuda)) {
    const char* const end = selector.data() + selector.size();
    const auto [stop, error] = std::from_chars(selector.data() + kCuda.size(), end, ordinal);
    if (error != std::errc() || stop != end) ordinal = -1;
  }
  if (ordinal < 0) {
    throw std::invalid_argument(
        fmt::format("unknown device '{}': use cpu or cuda:N, as `fcsa devices` lists them", selector));
  }
  return cuda::open_cuda_device(ordinal, version_or_none(describe_nvrtc()));
}

}  // namespace fcsa::runner
