"""Memory that a step frees is there for the next one.

The matrices of a step come and go. Glibc gives what was freed at the end of its heap back to the
system as soon as it is more than a threshold, 128 kB at first, and so each step asks for the same
pages again: 4,105 page faults, a tenth of the time, at a batch of 1,024 images. Glibc raises the
thresholds by itself as large blocks are freed, up to those that are set here, only not for blocks
that it never maps. Larger blocks than 32 MB go back as before.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_TRIM, _MAPPED = -1, -3  # names of malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
LARGEST_MAPPED = 32 * 2**20  # bytes, the most that glibc comes to by itself
LARGEST_FREE = 2 * LARGEST_MAPPED


@cache
def keep_freed_memory() -> bool:
    """Let this process keep up to 64 MB that were freed; whether it does (glibc alone knows how).

    An environment that sets the thresholds itself (`MALLOC_TRIM_THRESHOLD_`) is overruled.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_MAPPED, LARGEST_MAPPED) and mallopt(_TRIM, LARGEST_FREE))
