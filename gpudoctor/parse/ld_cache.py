"""/etc/ld.so.cache: which file the loader finds for a library's name."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable

MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("<20sIIB3xI12x")
_ENTRY = struct.Struct("<iIIIQ")
_ABI = 0xFF00  # 0x0300 x86-64, 0x0a00 aarch64; 0 marks 32-bit x86


def cached_libraries(cache: bytes, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The 64-bit files of these names, in the loader's order. Empty for what is no cache."""
    start = cache.find(MAGIC)
    if start < 0 or len(cache) < start + _HEADER.size:
        return {}
    body = cache[start:]
    count: int = _HEADER.unpack_from(body)[1]
    entries = body[_HEADER.size : _HEADER.size + count * _ENTRY.size]
    whole = entries[: len(entries) // _ENTRY.size * _ENTRY.size]
    wanted = {m.start() + 1: name for name in names for m in re.finditer(b"[\0/]" + name.encode() + b"\0", body)}
    found: dict[str, tuple[str, ...]] = {}
    for flags, key, value, _, _ in _ENTRY.iter_unpack(whole):
        if key in wanted and flags & _ABI and value < len(body):
            path = body[value : value + 4096].partition(b"\0")[0].decode(errors="replace")
            if path not in found.get(wanted[key], ()):
                found[wanted[key]] = (*found.get(wanted[key], ()), path)
    return found
