// How the programs that are compiled with emitted headers say what is wrong with them.
#pragma once

#include <cstdio>
#include <cstring>
#include <string>

inline int& failures() {
  static int count = 0;
  return count;
}

inline void expect(bool holds, const std::string& what) {
  if (holds) return;
  std::printf("FAILED: %s\n", what.c_str());
  ++failures();
}

template <typename Status>
void expect_refusal(const Status& status, const std::string& text) {
  expect(!status.ok() && std::strstr(status.text, text.c_str()) != nullptr,
         "a refusal that says '" + text + "', not '" + status.text + "'");
}

// What can't be reached without a GPU is never read.
inline void* no_memory() {
  return reinterpret_cast<void*>(256);
}

template <typename Attention>
Attention without_memory() {
  Attention a;
  a.q = a.k = a.v = a.o = no_memory();
  a.batch = 2;
  a.heads = a.kv_heads = 8;
  a.nq = a.nk = 2048;
  return a;
}

// With what backward() takes.
template <typename Attention>
Attention with_gradients(Attention a) {
  a.lse = static_cast<float*>(no_memory());
  a.dout = a.dq = a.dk = a.dv = no_memory();
  return a;
}
