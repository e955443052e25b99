/* Lets binaries that are linked against a newer C library run with that of 2018 (glibc 2.28: Debian 10, RHEL 8), which is
   what PyTorch's wheels are built for. Linked into the portable build only, where archives of the distribution (libstdc++,
   libgcc, SQLite) ask for the newest version of every symbol. x86-64. */
#define _GNU_SOURCE
#include <features.h>
#if defined(__x86_64__) && defined(__GLIBC__)
#include <dlfcn.h> /* struct dl_find_object */
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The symbol as it was before its newest version: a jump, so that arguments and the caller's address stay as they are. */
#define AS_OF(name, version)                                                       \
  __asm__(".text\n.p2align 4\n.globl " #name "\n.hidden " #name "\n.type " #name   \
          ",@function\n" #name ":\n  endbr64\n  jmp *of_old_" #name "@GOTPCREL(%rip)\n" \
          ".symver of_old_" #name "," #name "@" version "\n")

/* New versions in 2.29, of hypot in 2.35, that differ in error handling alone. */
AS_OF(exp, "GLIBC_2.2.5");
AS_OF(exp2, "GLIBC_2.2.5");
AS_OF(log, "GLIBC_2.2.5");
AS_OF(log2, "GLIBC_2.2.5");
AS_OF(pow, "GLIBC_2.2.5");
AS_OF(hypot, "GLIBC_2.2.5");

/* Moved from libdl and libpthread into libc in 2.34, the same in all else. */
AS_OF(dladdr, "GLIBC_2.2.5");
AS_OF(dladdr1, "GLIBC_2.3.3");
AS_OF(dlclose, "GLIBC_2.2.5");
AS_OF(dlerror, "GLIBC_2.2.5");
AS_OF(dlopen, "GLIBC_2.2.5");
AS_OF(dlsym, "GLIBC_2.2.5");
AS_OF(pthread_attr_setstacksize, "GLIBC_2.2.5");
AS_OF(pthread_create, "GLIBC_2.2.5");
AS_OF(pthread_detach, "GLIBC_2.2.5");
AS_OF(pthread_getspecific, "GLIBC_2.2.5");
AS_OF(pthread_join, "GLIBC_2.2.5");
AS_OF(pthread_key_create, "GLIBC_2.2.5");
AS_OF(pthread_key_delete, "GLIBC_2.2.5");
AS_OF(pthread_kill, "GLIBC_2.2.5");
AS_OF(pthread_mutex_trylock, "GLIBC_2.2.5");
AS_OF(pthread_mutexattr_destroy, "GLIBC_2.2.5");
AS_OF(pthread_mutexattr_init, "GLIBC_2.2.5");
AS_OF(pthread_mutexattr_settype, "GLIBC_2.2.5");
AS_OF(pthread_once, "GLIBC_2.2.5");
AS_OF(pthread_rwlock_rdlock, "GLIBC_2.2.5");
AS_OF(pthread_rwlock_tryrdlock, "GLIBC_2.2.5");
AS_OF(pthread_rwlock_trywrlock, "GLIBC_2.2.5");
AS_OF(pthread_rwlock_unlock, "GLIBC_2.2.5");
AS_OF(pthread_rwlock_wrlock, "GLIBC_2.2.5");
AS_OF(pthread_setspecific, "GLIBC_2.2.5");
AS_OF(pthread_sigmask, "GLIBC_2.2.5");
AS_OF(sem_destroy, "GLIBC_2.2.5");
AS_OF(sem_init, "GLIBC_2.2.5");
AS_OF(sem_post, "GLIBC_2.2.5");
AS_OF(sem_wait, "GLIBC_2.2.5");
AS_OF(__pthread_key_create, "GLIBC_2.2.5");

/* Functions of their own only since 2.33: of these, which all take the version of the struct first. */
__asm__(".symver old_xstat,__xstat@GLIBC_2.2.5\n.symver old_lxstat,__lxstat@GLIBC_2.2.5\n"
        ".symver old_fxstat,__fxstat@GLIBC_2.2.5\n.symver old_fxstatat,__fxstatat@GLIBC_2.4\n");
int old_xstat(int version, const char* path, void* result);
int old_lxstat(int version, const char* path, void* result);
int old_fxstat(int version, int file, void* result);
int old_fxstatat(int version, int folder, const char* path, void* result, int flags);

#define HIDDEN __attribute__((visibility("hidden")))
enum { kStatVersion = 1 };

HIDDEN int stat(const char* restrict path, struct stat* restrict result) { return old_xstat(kStatVersion, path, result); }
HIDDEN int stat64(const char* restrict path, struct stat64* restrict result) { return old_xstat(kStatVersion, path, result); }
HIDDEN int lstat(const char* restrict path, struct stat* restrict result) { return old_lxstat(kStatVersion, path, result); }
HIDDEN int lstat64(const char* restrict path, struct stat64* restrict result) {
  return old_lxstat(kStatVersion, path, result);
}
HIDDEN int fstat(int file, struct stat* result) { return old_fxstat(kStatVersion, file, result); }
HIDDEN int fstat64(int file, struct stat64* result) { return old_fxstat(kStatVersion, file, result); }
HIDDEN int fstatat(int folder, const char* restrict path, struct stat* restrict result, int flags) {
  return old_fxstatat(kStatVersion, folder, path, result, flags);
}
HIDDEN int fstatat64(int folder, const char* restrict path, struct stat64* restrict result, int flags) {
  return old_fxstatat(kStatVersion, folder, path, result, flags);
}

/* 2.32: whether atomic operations can be done without. */
HIDDEN char __libc_single_threaded = 0;

/* 2.36: std::random_device asks for it. */
HIDDEN uint32_t arc4random(void) {
  uint32_t number = 0;
  for (size_t done = 0; done < sizeof(number);) {
    const ssize_t got = getrandom((char*)&number + done, sizeof(number) - done, 0);
    if (got > 0) done += (size_t)got;
  }
  return number;
}

/* 2.30: waits of std::condition_variable, which looks at the clock itself when this returns. By the clock that people set,
   as before 2.30, where the C library has no better. */
HIDDEN int pthread_cond_clockwait(pthread_cond_t* restrict condition, pthread_mutex_t* restrict mutex, clockid_t clock,
                                  const struct timespec* restrict end) {
  typedef int ClockWait(pthread_cond_t*, pthread_mutex_t*, clockid_t, const struct timespec*);
  ClockWait* const own = (ClockWait*)dlsym(RTLD_DEFAULT, "pthread_cond_clockwait");
  if (own) return own(condition, mutex, clock, end);
  const long second = 1000000000;
  struct timespec now, there;
  clock_gettime(clock, &now);
  clock_gettime(CLOCK_REALTIME, &there);
  there.tv_sec += end->tv_sec - now.tv_sec;
  there.tv_nsec += end->tv_nsec - now.tv_nsec;
  if (there.tv_nsec < 0) there.tv_sec -= 1, there.tv_nsec += second;
  if (there.tv_nsec >= second) there.tv_sec += 1, there.tv_nsec -= second;
  return pthread_cond_timedwait(condition, mutex, &there);
}

/* 2.34: the system call, of Linux 5.9; the caller knows another way when this fails. */
HIDDEN int close_range(unsigned first, unsigned last, int flags) {
#ifdef SYS_close_range
  return (int)syscall(SYS_close_range, first, last, flags);
#else
  (void)first, (void)last, (void)flags;
  errno = ENOSYS;
  return -1;
#endif
}

/* 2.35: the unwind table of the code at an address, which libgcc asks for when an exception is thrown. */
struct Search {
  uintptr_t address;
  struct dl_find_object* result;
};

static int look_into(struct dl_phdr_info* info, size_t size, void* data) {
  (void)size;
  struct Search* search = data;
  uintptr_t begin = UINTPTR_MAX, end = 0, table = 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)* header = &info->dlpi_phdr[i];
    const uintptr_t start = info->dlpi_addr + header->p_vaddr;
    if (header->p_type == PT_LOAD) {
      if (start < begin) begin = start;
      if (start + header->p_memsz > end) end = start + header->p_memsz;
    } else if (header->p_type == PT_GNU_EH_FRAME) {
      table = start;
    }
  }
  if (search->address < begin || search->address >= end || table == 0) return 0;
  *search->result = (struct dl_find_object){.dlfo_map_start = (void*)begin, .dlfo_map_end = (void*)end, .dlfo_eh_frame = (void*)table};
  return 1;
}

HIDDEN int _dl_find_object(void* address, struct dl_find_object* result) {
  struct Search search = {(uintptr_t)address, result};
  return dl_iterate_phdr(look_into, &search) == 1 ? 0 : -1;
}
#endif
