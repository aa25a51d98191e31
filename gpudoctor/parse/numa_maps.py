"""/proc/PID/numa_maps: on which NUMA nodes the pages of a process lie.

https://docs.kernel.org/filesystems/proc.html; pages are counted in the page size that the line names.
"""

from __future__ import annotations

import re

import msgspec

DRIVER = b"/dev/nvidia"
# shared memory: a process fills it itself, but it may be a data set that many read
SHARED = (b"/dev/shm/", b"/memfd:", b"/SYSV", b"/dev/zero", b"/anon_hugepage", b"/dev/hugepages/")
_LINE = re.compile(rb"^[0-9a-f]+ (.*) kernelpagesize_kB=(\d+)$", re.MULTILINE)
_FILE = re.compile(rb" file=(\S+)")
_PAGES = re.compile(rb" N(\d+)=(\d+)")
_MOST_SHARERS = re.compile(rb" mapmax=(\d+)")


class Pages(msgspec.Struct, frozen=True):
    own_bytes_by_node: dict[int, int]
    pinned_bytes_by_node: dict[int, int]  # host memory that NVIDIA's driver locked and mapped
    maps_driver: bool  # whether anything of NVIDIA's driver is mapped

    @property
    def bytes_by_node(self) -> dict[int, int]:
        found = dict(self.own_bytes_by_node)
        for node, size in self.pinned_bytes_by_node.items():
            found[node] = found.get(node, 0) + size
        return found


def pages_by_node(text: bytes, sharers: int = 1) -> Pages:
    """`sharers`: what more processes than these map together is none of this process's own.

    Libraries and mapped files are left out, and what is interleaved over nodes because somebody asked for that.
    """
    own: dict[int, int] = {}
    pinned: dict[int, int] = {}
    for line, page_kib in _LINE.findall(text):
        policy_and_place, _, _ = line.partition(b" file=")
        if b"interleave" in policy_and_place.partition(b" anon=")[0]:
            continue
        file = _FILE.search(line)
        if file is None:
            counted = own
        elif DRIVER in file[1]:
            counted = pinned
        elif file[1].startswith(SHARED) and _shared_by(line) <= sharers:
            counted = own
        else:
            continue
        for node, pages in _PAGES.findall(line):
            counted[int(node)] = counted.get(int(node), 0) + (int(pages) * int(page_kib) << 10)
    return Pages(own, pinned, DRIVER in text)


def _shared_by(line: bytes) -> int:
    most = _MOST_SHARERS.search(line)
    return int(most[1]) if most else 1
