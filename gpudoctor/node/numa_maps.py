"""Reads of a process's numa_maps what tells where its own memory lies; libraries and data sets stay unnamed.

Runs in the worker: counting a process's pages takes the kernel 10 ms for each GiB of small ones.
"""

from __future__ import annotations

from gpudoctor.node.descriptor import read_file

MOST = 32 << 20  # a line for each mapping, and there may be 65530 (vm.max_map_count) or more
NO_LIBRARY = (b"/dev/", b"/memfd:", b"/SYSV", b"/anon_hugepage")


def read_numa_maps(path: str) -> bytes:
    """Raises OSError."""
    return b"".join(line for line in read_file(path, MOST).splitlines(keepends=True) if _counts(line))


def _counts(line: bytes) -> bool:
    _, _, file = line.partition(b" file=")
    if b"/dev/nvidia" in file:
        return True
    return b" N" in line and (not file or file.startswith(NO_LIBRARY))
