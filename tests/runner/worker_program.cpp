// Stands in for the fcsa program: only its child-process entry points.
#include <cstdio>
#include <string>

#include "runner/compile/compile_process.h"
#include "runner/inventory_process.h"
#include "runner/worker/worker_process.h"

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "__worker" && argc == 3) return fcsa::runner::worker_main(argv[2]);
  if (mode == "__compile" && argc == 3) return fcsa::runner::compile_main(argv[2]);
  if (mode == "__inventory") return fcsa::runner::inventory_main();
  std::fputs("usage: worker_program __worker DEVICE | __compile KIND | __inventory\n", stderr);
  return 2;
}
