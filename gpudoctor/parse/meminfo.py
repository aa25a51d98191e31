"""Memory as /proc/meminfo, /proc/vmstat and /proc/pressure/memory count it."""

from __future__ import annotations

import re

_SIZE = re.compile(rb"^(\w[\w()]*):\s+(\d{1,18}) kB$", re.MULTILINE)
_COUNTER = re.compile(rb"^(\w+) (\d{1,20})$", re.MULTILINE)
_FULL = re.compile(rb"^full avg10=[\d.]+ avg60=(\d{1,3}\.\d+) ", re.MULTILINE)


def sizes(meminfo: bytes) -> dict[str, int]:
    """In bytes, by the kernel's names."""
    return {name.decode(): int(kib) << 10 for name, kib in _SIZE.findall(meminfo)}


def counters(vmstat: bytes) -> dict[str, int]:
    return {name.decode(): int(count) for name, count in _COUNTER.findall(vmstat)}


def full_minute(pressure: bytes) -> float | None:
    """The share of the last minute, in percent, in which nothing could run for want of memory.

    https://docs.kernel.org/accounting/psi.html
    """
    found = _FULL.search(pressure)
    return float(found[1]) if found else None


def chosen(switch: str) -> str | None:
    """`always [madvise] never` -> madvise"""
    found = re.search(r"\[([\w+-]+)\]", switch)
    return found[1] if found else None
