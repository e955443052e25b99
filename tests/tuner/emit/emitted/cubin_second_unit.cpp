// A second translation unit with the same header.
#include "expectations.h"
#include "fcsa_tuned_sm_90.h"

fcsa_tuned::sm_90::Status forward_in_second_unit(const fcsa_tuned::sm_90::Attention& attention) {
  return fcsa_tuned::sm_90::forward(attention, no_memory(), nullptr);
}
