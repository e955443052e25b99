// A second translation unit with the same header.
#include "fcsa_tuned_sm_90.cuh"

fcsa_tuned::sm_90::Selection describe_in_second_unit(const fcsa_tuned::sm_90::Attention& attention) {
  return fcsa_tuned::sm_90::describe(attention);
}
