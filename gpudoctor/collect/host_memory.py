"""The host's memory: how much, how much is left, and whether the kernel is busy finding some."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TypeVar

from gpudoctor.collect.attribute import attribute, number
from gpudoctor.collect.collector import collector
from gpudoctor.collect.sampling import counted, pause
from gpudoctor.facts.host import HostMemory, HugePages, Swapping
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.sampling import Counted, Sampling
from gpudoctor.node.surface import Node
from gpudoctor.parse.meminfo import chosen, counters, full_minute, sizes
from gpudoctor.unread import Gap, Reading, Unread, hold, required

T = TypeVar("T")
MEMINFO = "/proc/meminfo"
VMSTAT = "/proc/vmstat"
PRESSURE = "/proc/pressure/memory"
HUGE_PAGES = "/sys/kernel/mm/hugepages"
TRANSPARENT = "/sys/kernel/mm/transparent_hugepage"
_HUGE = re.compile(r"hugepages-(\d{1,12})kB")


@collector
def host_memory(node: Node) -> HostMemory | None:
    if node.platform != "linux":
        return None
    told = _parsed(node, MEMINFO, sizes)

    def size(name: str) -> Reading[int]:
        if isinstance(told, Unread):
            return told
        return told[name] if name in told else Unread(Gap.MALFORMED, MEMINFO, f"has no {name}")

    return HostMemory(
        total_bytes=hold(size("MemTotal")),
        available_bytes=hold(size("MemAvailable")),
        swap_total_bytes=hold(size("SwapTotal")),
        swap_free_bytes=hold(size("SwapFree")),
        stalled_percent=hold(_stalled(node)),
        huge_pages=hold(_huge_pages(node)),
        transparent_huge_pages=hold(_switch(node, f"{TRANSPARENT}/enabled")),
        transparent_huge_pages_defrag=hold(_switch(node, f"{TRANSPARENT}/defrag")),
        swappiness=hold(number(node, "/proc/sys/vm/swappiness")),
    )


@collector
def swapping(node: Node, sampling: Sampling, machine: Machine) -> Swapping | Unread | None:
    if node.platform != "linux":
        return None
    began = time.monotonic()
    first = required(_parsed(node, VMSTAT, counters))
    second = None
    if sampling.seconds:
        pause(node, sampling.seconds, began)
        second = required(_parsed(node, VMSTAT, counters, sample=1))

    def grown(name: str) -> Reading[Counted]:
        """A kernel that cannot swap has no such counter."""
        later = second.get(name, 0) if second is not None else None
        return counted(first.get(name, 0), later, sampling, machine)

    return Swapping(pages_in=hold(grown("pswpin")), pages_out=hold(grown("pswpout")))


def _parsed(node: Node, path: str, parse: Callable[[bytes], T], sample: int = 0) -> Reading[T]:
    content = node.read(path, sample)
    return content if isinstance(content, Unread) else parse(content)


def _stalled(node: Node) -> Reading[float]:
    share = _parsed(node, PRESSURE, full_minute)
    if isinstance(share, Unread) and share.gap in (Gap.ABSENT, Gap.UNSUPPORTED):
        return Unread(Gap.UNSUPPORTED, PRESSURE, "this kernel does not measure pressure", "boot with psi=1")
    return Unread(Gap.MALFORMED, PRESSURE, "has no `full avg60`") if share is None else share


def _huge_pages(node: Node) -> Reading[tuple[HugePages, ...]]:
    names = node.list(HUGE_PAGES)
    if isinstance(names, Unread):
        return () if names.gap is Gap.ABSENT else names
    found = sorted((int(kind[1]), kind[0]) for kind in map(_HUGE.fullmatch, names) if kind)
    try:
        return tuple(
            HugePages(
                kib << 10,
                required(number(node, f"{HUGE_PAGES}/{name}/nr_hugepages")),
                required(number(node, f"{HUGE_PAGES}/{name}/free_hugepages")),
            )
            for kib, name in found
        )
    except Unread as gap:
        return gap


def _switch(node: Node, path: str) -> Reading[str]:
    """A kernel without transparent huge pages has no such file, which is as good as never."""
    text = attribute(node, path)
    if isinstance(text, Unread):
        return "never" if text.gap is Gap.ABSENT else text
    return chosen(text) or Unread(Gap.MALFORMED, path, f"chooses none: {text[:60]!r}")
