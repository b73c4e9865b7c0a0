"""Gateways whose clock is wrong: every read of the wall clock of a process is moved by so many seconds.

The smallest possible libfaketime, for one clock: a library in front of libc that the C compiler of the machine makes.
Monotonic time, which timeouts go by, stays right, as it does on a machine whose clock is wrong.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long skew(void) { const char *s = getenv("RELIABILITY_SKEW_SECONDS"); return s ? atol(s) : 0; }
int clock_gettime(clockid_t id, struct timespec *t) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(id, t);
  if (!result && id == CLOCK_REALTIME) t->tv_sec += skew();
  return result;
}
time_t time(time_t *t) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (t) *t = now.tv_sec;
  return now.tv_sec;
}
int gettimeofday(struct timeval *restrict t, void *restrict zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  t->tv_sec = now.tv_sec;
  t->tv_usec = now.tv_nsec / 1000;
  return 0;
}
"""


def compiler() -> str | None:
    """The C compiler of this machine, if it has one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def skewed(folder: Path, seconds: int) -> dict[str, str]:
    """Environment of a process whose clock is ahead by so many seconds; `folder` gets the library. Needs a compiler."""
    library = folder / "clock.so"
    if not library.exists():
        found = compiler()
        assert found is not None
        command = [found, "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", str(library), "-ldl"]
        subprocess.run(command, input=_SOURCE, text=True, check=True)
    return {"LD_PRELOAD": str(library), "RELIABILITY_SKEW_SECONDS": str(seconds)}
