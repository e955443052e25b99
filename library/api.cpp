// The functions of fcsa.h: no exception leaves them.
#include <cstdio>
#include <exception>
#include <new>
#include <system_error>

#include "library/failure.h"
#include "library/fcsa.h"
#include "library/fork.h"
#include "library/library.h"
#include "runner/device/host_failure.h"

using fcsa::kernels::Op;
using fcsa::library::Failure;
using fcsa::library::Library;
using fcsa::library::Plan;

namespace {

thread_local char last_error[1024] = "";

Library* implementation(fcsa_library* handle) {
  return reinterpret_cast<Library*>(handle);
}

Plan* implementation(fcsa_plan* handle) {
  return reinterpret_cast<Plan*>(handle);
}

// fcsa_describe and fcsa_workspace_bytes look only.
Plan* implementation(const fcsa_plan* handle) {
  return implementation(const_cast<fcsa_plan*>(handle));
}

fcsa_status fail(fcsa_status status, const char* text) {
  std::snprintf(last_error, sizeof(last_error), "%s", text);
  return status;
}

template <typename Body>
fcsa_status guarded(const Body& body) {
  try {
    body();
    return FCSA_OK;
  } catch (const Failure& failure) {
    return fail(failure.status(), failure.what());
  } catch (const fcsa::runner::DeviceError& error) {
    return fail(FCSA_DEVICE_FAILED, error.what());
  } catch (const std::invalid_argument& error) {
    return fail(FCSA_INVALID_ARGUMENT, error.what());
  } catch (const std::bad_alloc&) {
    return fail(FCSA_OUT_OF_MEMORY, "out of host memory");
  } catch (const fcsa::runner::HostFailure& error) {
    return fail(FCSA_HOST_FAILED, error.what());
  } catch (const std::system_error& error) {
    return fail(FCSA_HOST_FAILED, error.what());
  } catch (const std::exception& error) {
    return fail(FCSA_INTERNAL, error.what());
  } catch (...) {
    return fail(FCSA_INTERNAL, "an unknown exception");
  }
}

void require(const void* argument, const char* text) {
  if (argument == nullptr) throw Failure(FCSA_INVALID_ARGUMENT, text);
}

fcsa_status run(Op op, fcsa_plan* plan, const fcsa_tensors* tensors, void* stream) {
  return guarded([&] {
    require(plan, "plan is null: make one with fcsa_plan_create");
    require(tensors, "tensors is null: pass a fcsa_tensors that started from FCSA_TENSORS_INIT");
    implementation(plan)->run(op, *tensors, stream);
  });
}

}  // namespace

const char* fcsa_version(void) {
  return FCSA_VERSION;
}

const char* fcsa_last_error(void) {
  return last_error;
}

const char* fcsa_status_name(fcsa_status status) {
  switch (status) {
    case FCSA_OK:
      return "FCSA_OK";
    case FCSA_INVALID_ARGUMENT:
      return "FCSA_INVALID_ARGUMENT";
    case FCSA_UNSUPPORTED:
      return "FCSA_UNSUPPORTED";
    case FCSA_NO_DEVICE:
      return "FCSA_NO_DEVICE";
    case FCSA_NO_COMPILER:
      return "FCSA_NO_COMPILER";
    case FCSA_NOT_PREPARED:
      return "FCSA_NOT_PREPARED";
    case FCSA_COMPILE_FAILED:
      return "FCSA_COMPILE_FAILED";
    case FCSA_DEVICE_FAILED:
      return "FCSA_DEVICE_FAILED";
    case FCSA_OUT_OF_MEMORY:
      return "FCSA_OUT_OF_MEMORY";
    case FCSA_INTERNAL:
      return "FCSA_INTERNAL";
    case FCSA_HOST_FAILED:
      return "FCSA_HOST_FAILED";
  }
  return "unknown status";
}

fcsa_status fcsa_open(const fcsa_options* options, fcsa_library** library) {
  return guarded([&] {
    require(library, "library is null: pass the address of a fcsa_library*");
    *library = nullptr;
    const fcsa_options defaults = FCSA_OPTIONS_INIT;
    const fcsa_options& chosen = options != nullptr ? *options : defaults;
    fcsa::library::check_size("fcsa_options", chosen.size, sizeof(fcsa_options), sizeof(fcsa_options));
    const fcsa::library::LockedSection section;
    *library = reinterpret_cast<fcsa_library*>(new Library(chosen));
  });
}

fcsa_status fcsa_set_num_threads(fcsa_library* library, int32_t threads) {
  return guarded([&] {
    require(library, "library is null: open one with fcsa_open");
    implementation(library)->set_num_threads(threads);
  });
}

void fcsa_close(fcsa_library* library) {
  delete implementation(library);
}

fcsa_status fcsa_plan_create(fcsa_library* library, const fcsa_problem* problem, fcsa_plan** plan) {
  return guarded([&] {
    require(plan, "plan is null: pass the address of a fcsa_plan*");
    *plan = nullptr;
    require(library, "library is null: open one with fcsa_open");
    require(problem, "problem is null: pass a fcsa_problem that started from FCSA_PROBLEM_INIT");
    *plan = reinterpret_cast<fcsa_plan*>(&implementation(library)->plan(*problem));
  });
}

void fcsa_plan_destroy(fcsa_plan* plan) {
  if (plan != nullptr) implementation(plan)->release();
}

size_t fcsa_workspace_bytes(const fcsa_plan* plan) {
  return plan != nullptr ? implementation(plan)->workspace_bytes() : 0;
}

const char* fcsa_describe(const fcsa_plan* plan) {
  const char* text = "";
  if (plan != nullptr) guarded([&] { text = implementation(plan)->describe(); });
  return text;
}

fcsa_status fcsa_prepare(fcsa_plan* plan) {
  return guarded([&] {
    require(plan, "plan is null: make one with fcsa_plan_create");
    implementation(plan)->prepare();
  });
}

fcsa_status fcsa_forward(fcsa_plan* plan, const fcsa_tensors* tensors, void* stream) {
  return run(Op::forward, plan, tensors, stream);
}

fcsa_status fcsa_backward(fcsa_plan* plan, const fcsa_tensors* tensors, void* stream) {
  return run(Op::backward, plan, tensors, stream);
}
