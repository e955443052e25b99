// A device in host memory whose launches call a function of the test.
#pragma once

#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>

#include "runner/device/device.h"

namespace fcsa::runner {

class FakeBuffer final : public Buffer {
 public:
  // NaN in what lies behind it.
  explicit FakeBuffer(std::size_t bytes, std::size_t behind = 0,
                      std::shared_ptr<std::size_t> held = std::make_shared<std::size_t>(0))
      : bytes_(bytes),
        data_(std::aligned_alloc(256, (bytes + behind + 255) / 256 * 256), &std::free),
        held_(std::move(held)) {
    if (!data_) throw OutOfMemory("the test ran out of memory");
    std::memset(static_cast<char*>(data_.get()) + bytes, 0xff, behind);
    *held_ += bytes_;
  }
  ~FakeBuffer() override { *held_ -= bytes_; }
  void* data() const override { return data_.get(); }
  std::size_t bytes() const override { return bytes_; }

 private:
  std::size_t bytes_;
  std::unique_ptr<void, decltype(&std::free)> data_;
  std::shared_ptr<std::size_t> held_;  // by all buffers of a device
};

class FakeDevice final : public Device {
 public:
  using Kernel = std::function<void(const kernels::LaunchPlan&, const kernels::BackwardArgs&)>;
  Kernel kernel = [](const kernels::LaunchPlan&, const kernels::BackwardArgs&) {};
  std::size_t bytes_behind_buffers = 0;  // that a wrong kernel may reach without leaving what was allocated
  std::size_t allocations = 0;
  std::size_t memory_bytes = std::numeric_limits<std::size_t>::max();  // that all buffers together may have
  int launches = 0;

  const kernels::DeviceInfo& info() const override { return info_; }
  kernels::Target& target() { return info_.target; }
  std::unique_ptr<Module> load(const Binary&) override { return std::make_unique<Module>(); }
  std::unique_ptr<Buffer> allocate(std::size_t bytes) override {
    ++allocations;
    if (*held_ + bytes > memory_bytes) throw OutOfMemory("full", *held_ + bytes - memory_bytes);
    return std::make_unique<FakeBuffer>(bytes, bytes_behind_buffers, held_);
  }
  void upload(Buffer& to, std::size_t offset, const void* from, std::size_t bytes) override {
    std::memcpy(static_cast<char*>(to.data()) + offset, from, bytes);
  }
  void download(void* to, const Buffer& from, std::size_t offset, std::size_t bytes) override {
    std::memcpy(to, static_cast<const char*>(from.data()) + offset, bytes);
  }
  void fill(Buffer& buffer, std::size_t offset, unsigned char value, std::size_t bytes) override {
    std::memset(static_cast<char*>(buffer.data()) + offset, value, bytes);
  }
  void launch(const Module&, const kernels::LaunchPlan& plan, const kernels::BackwardArgs& args) override {
    ++launches;
    kernel(plan, args);
  }
  void synchronize() override {}
  double time_ms(const std::function<void()>& enqueue) override {
    enqueue();
    return 1;
  }
  tuner::Clocks clocks() override { return {}; }
  void reset_peak_memory() override {}
  std::size_t peak_memory_bytes() override { return 0; }

 private:
  kernels::DeviceInfo info_;
  std::shared_ptr<std::size_t> held_ = std::make_shared<std::size_t>(0);
};

}  // namespace fcsa::runner
