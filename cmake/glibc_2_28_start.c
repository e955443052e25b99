/* How a program starts, for glibc_2_28.c. Up to 2.33 the C library leaves the constructors of the program to a function that
   it is given; newer start-up code gives it none. */
#define _GNU_SOURCE
#include <features.h>
#if defined(__x86_64__) && defined(__GLIBC__)
#include <stddef.h>

typedef void (*Constructor)(int, char**, char**);
extern Constructor __preinit_array_start[] __attribute__((visibility("hidden")));
extern Constructor __preinit_array_end[] __attribute__((visibility("hidden")));
extern Constructor __init_array_start[] __attribute__((visibility("hidden")));
extern Constructor __init_array_end[] __attribute__((visibility("hidden")));

static void construct(int argc, char** argv, char** environment) {
  for (Constructor* each = __preinit_array_start; each != __preinit_array_end; ++each) (*each)(argc, argv, environment);
  for (Constructor* each = __init_array_start; each != __init_array_end; ++each) (*each)(argc, argv, environment);
}

__asm__(".symver old_start,__libc_start_main@GLIBC_2.2.5");
int old_start(int (*main)(int, char**, char**), int argc, char** argv, Constructor init, void (*fini)(void),
              void (*loader_fini)(void), void* stack_end);

__attribute__((visibility("hidden"))) int __libc_start_main(int (*main)(int, char**, char**), int argc, char** argv,
                                                            Constructor init, void (*fini)(void),
                                                            void (*loader_fini)(void), void* stack_end) {
  return old_start(main, argc, argv, init != NULL ? init : construct, fini, loader_fini, stack_end);
}
#endif
