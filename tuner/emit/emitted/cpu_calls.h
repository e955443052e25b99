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

inline Request request_of(const Attention& attention, Op op, Isa isa) {
  Request request;
  request.status = check_sizes(attention, op);
  if (!request.status.ok()) return request;
  request.set = find_set(isa);
  if (request.set == nullptr) {
    request.status = no_set(isa);
    return request;
  }
  request.choice = choose_or_remember(*request.set->table, at_least_one(attention), op);
  if (request.choice.of == nullptr) request.status = no_kernel(attention, op);
  return request;
}

inline Status call(const Attention& attention, Op op, void* workspace, Isa isa) {
  const Request request = request_of(attention, op, isa);
  if (!request.status.ok()) return request.status;
  BackwardArgs args = args_of(attention, op);
  Status status = check_tensors(attention, op, args);
  if (!status.ok()) return status;
  const LaunchPlan plan = request.variant().plan(args);
  status = place_workspace(attention, op, plan, workspace, args);
  if (!status.ok()) return status;
  if (run(request.variant(), plan, args)) return {};
  return failure(Code::launch_failed, "%s", "no memory for threads and their scratch");
}

}  // namespace detail

inline Isa best_isa() {
  for (const detail::InstructionSet& set : detail::kInstructionSets)
    if (detail::runs_here(set.isa)) return set.isa;
  return Isa::generic;
}

inline std::size_t workspace_bytes(const Attention& attention, Op op, Isa isa) {
  const detail::Request request = detail::request_of(attention, op, isa);
  if (!request.status.ok()) return 0;
  return detail::workspace_of(attention, op, request.variant().plan(detail::args_of(attention, op)));
}

inline Status forward(const Attention& attention, void* workspace, Isa isa) {
  return detail::call(attention, Op::forward, workspace, isa);
}

inline Status backward(const Attention& attention, void* workspace, Isa isa) {
  return detail::call(attention, Op::backward, workspace, isa);
}

inline void write_key_mask(const int* lengths, int batch, int nk, unsigned char* mask) {
  for (int b = 0; b < batch; ++b)
    for (int j = 0; j < nk; ++j) mask[1LL * b * nk + j] = j < lengths[b] ? 1 : 0;
}

inline Selection describe(const Attention& attention, Op op, Isa isa) {
  const detail::Request request = detail::request_of(attention, op, isa);
  if (request.status.ok())
    return detail::selection_of(request.choice, attention, request.variant().configuration);
  Selection selection;
  selection.status = request.status;
  return selection;
}
