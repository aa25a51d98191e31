"""Reads of a PCI device's configuration space what is looked at, and nothing else.

A blind read of 4096 bytes is a thousand bus accesses, 18 ms in a virtual machine, and lspci's manual warns that some
devices crash on reads of undefined parts. So capabilities are walked to, as the kernel does: the header, PCI Express,
AER and ACS are read; the rest of the image is zero but for the heads that link the capabilities.
Registers: https://github.com/torvalds/linux/blob/master/include/uapi/linux/pci_regs.h
"""

from __future__ import annotations

import errno
import os
import stat

from gpudoctor.node.descriptor import FLAGS

HEADER, CONVENTIONAL = 64, 256
STATUS, HEADER_TYPE, FIRST_CAPABILITY = 0x06, 0x0E, 0x34
HAS_CAPABILITIES, CARDBUS = 0x10, 2
EXPRESS, AER, ACS = 0x10, 0x0001, 0x000D
ROOT_PORT, ROOT_COLLECTOR = 4, 10
_ACS_BYTES, _AER_BYTES, _AER_ROOT_BYTES = 8, 0x2C, 0x38
_MOST_CAPABILITIES, _MOST_EXTENDED = 48, 480  # as many as fit: a longer list is a loop


def read_config_space(place: str) -> bytes:
    """Raises OSError. Without CAP_SYS_ADMIN the kernel gives the header alone, and so does this."""
    descriptor = os.open(place, FLAGS)
    try:
        entry = os.fstat(descriptor)
        if not stat.S_ISREG(entry.st_mode):
            raise OSError(errno.ENOTSUP, "is not a regular file", place)
        return _Reader(descriptor, entry.st_size).image()
    finally:
        os.close(descriptor)


class _Reader:
    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._image = bytearray(min(size, 4096))
        self._reached = 0

    def image(self) -> bytes:
        header = self._keep(0, HEADER)
        if len(header) < HEADER or header[:2] == b"\xff\xff" or not header[STATUS] & HAS_CAPABILITIES:
            return header
        if header[HEADER_TYPE] & 0x7F == CARDBUS:
            return header
        express = self._walk(header[FIRST_CAPABILITY] & 0xFC)
        if self._reached <= HEADER:
            return header
        if express and len(self._image) > CONVENTIONAL:
            self._walk_extended(express)
        return bytes(self._image)

    def _walk(self, at: int) -> int:
        """The place of the PCI Express capability, 0 where there is none."""
        seen: set[int] = set()
        found = 0
        while at >= HEADER and at not in seen and len(seen) < _MOST_CAPABILITIES:
            seen.add(at)
            head = self._keep(at, 2)
            if len(head) < 2 or head == b"\xff\xff":
                break
            if head[0] == EXPRESS and not found:
                found = at
                flags = int.from_bytes(self._keep(at + 2, 2), "little")
                self._keep(at + 4, _express_bytes(flags) - 4)
            at = head[1] & 0xFC
        return found

    def _walk_extended(self, express: int) -> None:
        port = self._image[express + 2] >> 4
        aer_bytes = _AER_ROOT_BYTES if port in (ROOT_PORT, ROOT_COLLECTOR) else _AER_BYTES
        at, seen = CONVENTIONAL, set[int]()
        while at >= CONVENTIONAL and at not in seen and len(seen) < _MOST_EXTENDED:
            seen.add(at)
            head = int.from_bytes(self._keep(at, 4), "little")
            if head in (0, 0xFFFF_FFFF):
                break
            own = {AER: aer_bytes, ACS: _ACS_BYTES}.get(head & 0xFFFF, 4)
            if own > 4:
                self._keep(at + 4, own - 4)
            at = head >> 20 & 0xFFC

    def _keep(self, at: int, size: int) -> bytes:
        data = os.pread(self._descriptor, max(0, min(size, len(self._image) - at)), at)
        self._image[at : at + len(data)] = data
        self._reached = max(self._reached, at + len(data))
        return data


def _express_bytes(flags: int) -> int:
    """Version 1 ends after the registers that its kind of port has."""
    if flags & 0xF >= 2:
        return 0x3C
    return {0: 0x14, 1: 0x14, ROOT_PORT: 0x24, ROOT_COLLECTOR: 0x24}.get(flags >> 4 & 0xF, 0x1C)
