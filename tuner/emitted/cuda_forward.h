namespace detail {

inline Status check_device(const CurrentDevice& device) {
  if (!device.status.ok()) return device.status;
  if (10 * device.major + device.minor == kComputeCapability) return check_compiled();
  return failure(
      Code::wrong_device,
      "tuned for sm_%d, and the current device (%d) is sm_%d%d: tune there with `fcsa tune` and emit again",
      kComputeCapability, device.ordinal, device.major, device.minor);
}

inline Status launch(const Variant& variant, const LaunchPlan& plan, const Args& args, CUstream stream) {
  const CurrentDevice device = current_device();
  Status status = check_device(device);
  if (!status.ok()) return status;
  fcsa::kernels::EncodedMaps encoded;
  if (plan.map_count > 0) {
    static const auto encoder = tensor_map_encoder();
    if (encoder == nullptr)
      return failure(Code::launch_failed, "the CUDA driver has no cuTensorMapEncodeTiled: it needs CUDA 12");
    encoded = encode_maps(encoder, plan, args);
    if (encoded.error != CUDA_SUCCESS)
      return failure(Code::launch_failed, "cuTensorMapEncodeTiled: error %d",
                     static_cast<int>(encoded.error));
  }
  // A kernel that takes no maps doesn't look at them.
  void* parameters[] = {const_cast<Args*>(&args), &encoded.maps};
  for (int i = 0; i < plan.count && status.ok(); ++i)
    status = launch_step(variant, plan.steps[i], parameters, {device, stream});
  return status;
}

inline int multiprocessors_or(int tuned) {
  const CurrentDevice device = current_device();
  return device.status.ok() ? device.multiprocessors : tuned;
}

}  // namespace detail

inline std::size_t workspace_bytes(const Attention& attention) {
  if (!detail::check_sizes(attention).ok()) return 0;
  const detail::Choice choice = detail::choose(detail::kTable, attention);
  if (choice.of == nullptr) return 0;
  return detail::workspace_of(attention, detail::kVariants[choice.variant].plan(detail::args_of(attention)));
}

inline Status forward(const Attention& attention, void* workspace, CUstream stream) {
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
  return detail::launch(variant, plan, args, stream);
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
