namespace detail {

inline Status check_device(int& device) {
  cudaError_t error = cudaGetDevice(&device);
  int major = 0, minor = 0;
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  if (error != cudaSuccess) return cuda_failure("current device", error);
  if (10 * major + minor == kComputeCapability) return {};
  return failure(
      Code::wrong_device,
      "tuned for sm_%d, and the current device (%d) is sm_%d%d: tune there with `fcsa tune` and emit again",
      kComputeCapability, device, major, minor);
}

inline int multiprocessors_or(int tuned) {
  int device = 0, multiprocessors = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return tuned;
  const cudaError_t error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  return error == cudaSuccess ? multiprocessors : tuned;
}

}  // namespace detail

inline std::size_t workspace_bytes(const Attention& attention) {
  if (!detail::check_sizes(attention).ok()) return 0;
  const detail::Choice choice = detail::choose(detail::kTable, attention);
  if (choice.of == nullptr) return 0;
  return detail::workspace_of(attention, detail::kVariants[choice.variant].plan(detail::args_of(attention)));
}

inline Status forward(const Attention& attention, void* workspace, cudaStream_t stream) {
  Status status = detail::check_sizes(attention);
  if (!status.ok()) return status;
  detail::Args args = detail::args_of(attention);
  status = detail::check_tensors(attention, args);
  if (!status.ok()) return status;
  const detail::Choice choice = detail::choose(detail::kTable, attention);
  if (choice.of == nullptr) return detail::no_kernel(attention);
  const detail::Variant& variant = detail::kVariants[choice.variant];
  const detail::LaunchPlan plan = variant.plan(args);
  status = detail::place_workspace(attention, plan, workspace, args);
  if (!status.ok()) return status;
  int device = 0;
  status = detail::check_device(device);
  if (!status.ok()) return status;
  return detail::launch(variant, args, plan, device, stream);
}

inline Selection describe(const Attention& attention) {
  Selection selection;
  selection.status = detail::check_sizes(attention);
  if (!selection.status.ok()) return selection;
  const detail::Choice choice = detail::choose(detail::kTable, attention);
  if (choice.of == nullptr) selection.status = detail::no_kernel(attention);
  if (!selection.status.ok()) return selection;
  return detail::selection_of(choice, attention, detail::kVariants[choice.variant].configuration);
}
