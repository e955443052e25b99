namespace detail {

inline const InstructionSet* find_set(Isa isa) {
  for (const InstructionSet& set : kInstructionSets)
    if (set.isa == isa && runs_here(isa)) return &set;
  return nullptr;
}

inline Status no_set(Isa isa) {
  const char* name = isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "generic";
  return failure(Code::wrong_device, "this processor doesn't run %s: leave the instruction set to best_isa()",
                 name);
}

// Everything that is known before the pointers are looked at.
struct Request {
  Status status;
  const InstructionSet* set = nullptr;
  Choice choice;
  const Variant& variant() const { return set->variants[choice.variant]; }
};

inline Request request_of(const Attention& attention, Isa isa) {
  Request request;
  request.status = check_sizes(attention);
  if (!request.status.ok()) return request;
  request.set = find_set(isa);
  if (request.set == nullptr) {
    request.status = no_set(isa);
    return request;
  }
  request.choice = choose(*request.set->table, attention);
  if (request.choice.of == nullptr) request.status = no_kernel(attention);
  return request;
}

}  // namespace detail

inline Isa best_isa() {
  static const Isa best = [] {
    for (const detail::InstructionSet& set : detail::kInstructionSets)
      if (detail::runs_here(set.isa)) return set.isa;
    return Isa::generic;
  }();
  return best;
}

inline std::size_t workspace_bytes(const Attention& attention, Isa isa) {
  const detail::Request request = detail::request_of(attention, isa);
  if (!request.status.ok()) return 0;
  return detail::workspace_of(attention, request.variant().plan(detail::args_of(attention)));
}

inline Status forward(const Attention& attention, void* workspace, Isa isa) {
  const detail::Request request = detail::request_of(attention, isa);
  if (!request.status.ok()) return request.status;
  detail::Args args = detail::args_of(attention);
  Status status = detail::check_tensors(attention, args);
  if (!status.ok()) return status;
  const detail::LaunchPlan plan = request.variant().plan(args);
  status = detail::place_workspace(attention, plan, workspace, args);
  if (!status.ok()) return status;
  try {
    detail::run(request.variant(), plan, args);
  } catch (const std::exception& error) {
    return detail::failure(Code::launch_failed, "threads or their scratch memory: %s", error.what());
  }
  return {};
}

inline Selection describe(const Attention& attention, Isa isa) {
  const detail::Request request = detail::request_of(attention, isa);
  if (request.status.ok())
    return detail::selection_of(request.choice, attention, request.variant().configuration);
  Selection selection;
  selection.status = request.status;
  return selection;
}
