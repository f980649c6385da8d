/* The extension as one translation unit, so that a reading can be one function
 * (attributes.h): as separate files it takes 0.04 of a reading longer. */
#if defined(_WIN32)
#    include "file_windows.c"
#    include "os_windows.c"
#    include "rss_windows.c"
#elif defined(__APPLE__)
#    include "file_posix.c"
#    include "os_macos.c"
#    include "rss_macos.c"
#else
#    include "file_posix.c"
#    include "os_linux.c"
#    include "rss_linux.c"
#    include "statm.c"
#    include "status.c"
#endif
#include "humanize.c"
#include "probe.c"
#include "probe_blocks.c"
#include "probe_sampling.c"
#include "probe_state.c"
#include "record.c"
#include "ring.c"
#include "sampler.c"

#include "_memprobe.c"
