/* The extension as one translation unit, so that a reading can be one function
 * (attributes.h): as separate files it takes 0.04 of a reading longer. Python.h before
 * all headers of the system, some of which it configures. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(_WIN32)
#    include "windows/breakdown.c"
#    include "windows/contact.c"
#    include "windows/os.c"
#    include "windows/rss.c"
#elif defined(__APPLE__)
#    include "macos/breakdown.c"
#    include "macos/os.c"
#    include "macos/rss.c"
#    include "macos/spawn.c"
#    include "posix/contact.c"
#    include "posix/line.c"
#else
#    include "lines.c"
#    include "linux/allocators.c"
#    include "linux/counting.c"
#    include "linux/mappings.c"
#    include "linux/os.c"
#    include "linux/rss.c"
#    include "linux/spawn.c"
#    include "malloc_text.c"
#    include "posix/contact.c"
#    include "posix/line.c"
#    include "smaps.c"
#    include "statm.c"
#    include "status.c"
#endif
#include "blocks.c"
#include "breakdown.c"
#include "contact.c"
#include "humanize.c"
#include "probe.c"
#include "probe_blocks.c"
#include "probe_sampling.c"
#include "probe_state.c"
#include "recorder.c"
#include "ring.c"
#include "sampler.c"

#include "_memprobe.c"
