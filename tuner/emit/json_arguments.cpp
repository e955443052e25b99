#include "tuner/emit/json_arguments.h"

#include <type_traits>

namespace fcsa::tuner {
namespace {

using json = nlohmann::ordered_json;

template <typename Member>
constexpr const char* type_name() {
  if constexpr (std::is_pointer_v<Member>) return "pointer";
  if constexpr (std::is_same_v<Member, kernels::Strides>) return "int64[3]";
  if constexpr (std::is_same_v<Member, long long>) return "int64";
  if constexpr (std::is_same_v<Member, int>) return "int32";
  if constexpr (std::is_same_v<Member, float>) return "float32";
  if constexpr (std::is_same_v<Member, bool>) return "bool";
}

}  // namespace

json arguments_json(kernels::Op op) {
  const kernels::BackwardArgs args;
  json fields = json::array();
  const auto add = [&]<typename Member>(const char* name, const Member& member) {
    const auto offset = reinterpret_cast<const char*>(&member) - reinterpret_cast<const char*>(&args);
    fields.push_back({{"name", name}, {"offset", offset}, {"type", type_name<Member>()}});
  };
#define FCSA_FIELD(name) add(#name, args.name)
  FCSA_FIELD(q);
  FCSA_FIELD(k);
  FCSA_FIELD(v);
  FCSA_FIELD(o);
  FCSA_FIELD(lse);
  FCSA_FIELD(key_mask);
  FCSA_FIELD(bias);
  FCSA_FIELD(head_scale);
  FCSA_FIELD(workspace);
  FCSA_FIELD(q_strides);
  FCSA_FIELD(k_strides);
  FCSA_FIELD(v_strides);
  FCSA_FIELD(o_strides);
  FCSA_FIELD(bias_strides);
  FCSA_FIELD(key_mask_stride);
  FCSA_FIELD(batch);
  FCSA_FIELD(heads);
  FCSA_FIELD(kv_heads);
  FCSA_FIELD(nq);
  FCSA_FIELD(nk);
  FCSA_FIELD(bias_batch);
  FCSA_FIELD(bias_heads);
  FCSA_FIELD(scale);
  FCSA_FIELD(bound);
  FCSA_FIELD(eps);
  if (op == kernels::Op::forward) return {{"bytes", sizeof(kernels::Args)}, {"fields", fields}};
  FCSA_FIELD(dout);
  FCSA_FIELD(dq);
  FCSA_FIELD(dk);
  FCSA_FIELD(dv);
  FCSA_FIELD(dbias);
  FCSA_FIELD(dscale);
  FCSA_FIELD(dout_strides);
  FCSA_FIELD(dq_strides);
  FCSA_FIELD(dk_strides);
  FCSA_FIELD(dv_strides);
  FCSA_FIELD(dbias_strides);
  FCSA_FIELD(wants_dbias);
  FCSA_FIELD(wants_dscale);
#undef FCSA_FIELD
  return {{"bytes", sizeof(kernels::BackwardArgs)}, {"fields", fields}};
}

}  // namespace fcsa::tuner
