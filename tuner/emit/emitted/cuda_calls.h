namespace detail {

inline Status check_device(const CurrentDevice& device) {
  if (!device.status.ok()) return device.status;
  if (10 * device.major + device.minor == kComputeCapability) return check_compiled();
  return failure(
      Code::wrong_device,
      "tuned for sm_%d, and the current device (%d) is sm_%d%d: tune there with `fcsa tune` and emit again",
      kComputeCapability, device.ordinal, device.major, device.minor);
}

inline Status launch(const Variant& variant, const LaunchPlan& plan, const BackwardArgs& args,
                     CUstream stream) {
  const CurrentDevice device = current_device();
  Status status = check_device(device);
  if (!status.ok()) return status;
  if (plan.nothing.to_compute) {
    fcsa::kernels::Fills(plan.nothing, args).for_each([&](const fcsa::kernels::Fill& fill) {
      if (status.ok()) status = set_bytes(fill, stream);
    });
    return status;
  }
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
  // A forward kernel takes the part that is Args; one that takes no maps doesn't look at them.
  BackwardArgs usable = args;
  usable.eps = fcsa::kernels::usable_eps_gpu(args.eps);
  void* parameters[] = {&usable, &encoded.maps};
  for (int i = 0; i < plan.count && status.ok(); ++i)
    status = launch_step(variant, plan.steps[i], parameters, {device, stream});
  return status;
}

inline int multiprocessors_or(int tuned) {
  const CurrentDevice device = current_device();
  return device.status.ok() ? device.multiprocessors : tuned;
}

// Everything that is known before the pointers are looked at.
struct Request {
  Status status;
  Choice choice;
  const Variant& variant() const { return kVariants[choice.variant]; }
};

inline Request request_of(const Attention& attention, Op op) {
  Request request;
  request.status = check_sizes(attention, op);
  if (!request.status.ok()) return request;
  request.choice = choose_or_remember(kTable, at_least_one(attention), op);
  if (request.choice.of == nullptr) request.status = no_kernel(attention, op);
  return request;
}

inline Status call(const Attention& attention, Op op, void* workspace, CUstream stream) {
  const Request request = request_of(attention, op);
  if (!request.status.ok()) return request.status;
  BackwardArgs args = args_of(attention, op);
  Status status = check_tensors(attention, op, args);
  if (!status.ok()) return status;
  const LaunchPlan plan = request.variant().plan(args);
  status = place_workspace(attention, op, plan, workspace, args);
  if (!status.ok()) return status;
  return launch(request.variant(), plan, args, stream);
}

}  // namespace detail

inline std::size_t workspace_bytes(const Attention& attention, Op op) {
  const detail::Request request = detail::request_of(attention, op);
  if (!request.status.ok()) return 0;
  return detail::workspace_of(attention, op, request.variant().plan(detail::args_of(attention, op)));
}

inline Status forward(const Attention& attention, void* workspace, CUstream stream) {
  return detail::call(attention, Op::forward, workspace, stream);
}

inline Status backward(const Attention& attention, void* workspace, CUstream stream) {
  return detail::call(attention, Op::backward, workspace, stream);
}

inline Selection describe(const Attention& attention, Op op) {
  const detail::Request request = detail::request_of(attention, op);
  if (request.status.ok())
    return detail::selection_of(request.choice, attention, request.variant().configuration);
  Selection selection;
  selection.status = request.status;
  return selection;
}
