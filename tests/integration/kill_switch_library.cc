// Loaded before the C library (LD_PRELOAD): kill_switch.h says what for.

#include <dlfcn.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "mledge/tests/integration/kill_switch.h"

namespace {

mledge::KillSwitchState* MapState() {
  const char* const path = std::getenv("MLEDGE_KILL_SWITCH");
  const int fd = path == nullptr ? -1 : open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  void* const mapped = mmap(nullptr, sizeof(mledge::KillSwitchState),
                            PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  return mapped == MAP_FAILED ? nullptr
                              : static_cast<mledge::KillSwitchState*>(mapped);
}

void Before(const char* operation, const char* path) {
  static mledge::KillSwitchState* const state = MapState();
  static const char* const folder = std::getenv("MLEDGE_KILL_SWITCH_FOLDER");
  if (state == nullptr || folder == nullptr) return;
  const size_t size = strlen(folder);
  if (strncmp(path, folder, size) != 0 ||
      (path[size] != '/' && path[size] != '\0')) {
    return;
  }
  if (state->left < 0) return;
  char told[sizeof(state->died_before)];
  snprintf(told, sizeof(told), "%s %s", operation, path + size);
  const bool counts = state->after[0] == '\0' || state->passed > 0;
  if (fnmatch(state->after, told, 0) == 0 && state->passed.fetch_add(1) == 0) {
    memcpy(state->first_passed, told, sizeof(told));
  }
  if (!counts || fnmatch(state->before, told, 0) != 0) return;
  if (state->left.fetch_sub(1) != 0) return;
  memcpy(state->died_before, told, sizeof(told));
  kill(getpid(), SIGKILL);
  pause();
}

void Before(const char* operation, int fd) {
  char link[32];
  char path[PATH_MAX];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, sizeof(path) - 1);
  if (size <= 0) return;
  path[size] = '\0';
  Before(operation, path);
}

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

// With the C library's signatures.
extern "C" {

ssize_t write(int fd, const void* bytes, size_t size) {
  static const auto next = Next<decltype(write)>("write");
  Before("write", fd);
  return next(fd, bytes, size);
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  static const auto next = Next<decltype(pwrite)>("pwrite");
  Before("pwrite", fd);
  return next(fd, bytes, size, offset);
}

ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t offset) {
  static const auto next = Next<decltype(pwrite64)>("pwrite64");
  Before("pwrite", fd);
  return next(fd, bytes, size, offset);
}

int fsync(int fd) {
  static const auto next = Next<decltype(fsync)>("fsync");
  Before("sync", fd);
  return next(fd);
}

int fdatasync(int fd) {
  static const auto next = Next<decltype(fdatasync)>("fdatasync");
  Before("sync", fd);
  return next(fd);
}

int ftruncate(int fd, off_t size) noexcept {
  static const auto next = Next<decltype(ftruncate)>("ftruncate");
  Before("truncate", fd);
  return next(fd, size);
}

int ftruncate64(int fd, off64_t size) noexcept {
  static const auto next = Next<decltype(ftruncate64)>("ftruncate64");
  Before("truncate", fd);
  return next(fd, size);
}

int rename(const char* from, const char* to) noexcept {
  static const auto next = Next<decltype(rename)>("rename");
  Before("rename", to);
  return next(from, to);
}

int mkdir(const char* path, mode_t mode) noexcept {
  static const auto next = Next<decltype(mkdir)>("mkdir");
  Before("mkdir", path);
  return next(path, mode);
}

int remove(const char* path) noexcept {
  static const auto next = Next<decltype(remove)>("remove");
  Before("unlink", path);
  return next(path);
}

int unlink(const char* path) noexcept {
  static const auto next = Next<decltype(unlink)>("unlink");
  Before("unlink", path);
  return next(path);
}

}  // extern "C"
