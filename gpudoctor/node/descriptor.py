"""Reads one regular file to its end, and opens nothing else."""

from __future__ import annotations

import errno
import os
import stat

FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
# these are files whose reading takes something away, or never ends
NEVER = ("/proc/kmsg", "/sys/kernel/debug/tracing", "/sys/kernel/tracing")


def read_file(path: str, most: int, keep_end: bool = False) -> bytes:
    """Raises OSError; EFBIG where it holds more than `most` bytes and its end alone does not do."""
    if path.startswith(NEVER) or not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.ENOTSUP, "is not a regular file", path)
    descriptor = os.open(path, FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOTSUP, "is not a regular file", path)
        size = os.fstat(descriptor).st_size
        if size > most and keep_end:
            os.lseek(descriptor, size - most, os.SEEK_SET)
        return _to_end(descriptor, most, path)
    finally:
        os.close(descriptor)


def _to_end(descriptor: int, most: int, path: str) -> bytes:
    parts: list[bytes] = []
    held = 0
    while data := os.read(descriptor, 1 << 18 if held else 1 << 16):
        parts.append(data)
        held += len(data)
        if held > most + (1 << 20):  # a log grows while it is read
            raise OSError(errno.EFBIG, f"holds more than {most >> 20} MiB", path)
    return b"".join(parts)
