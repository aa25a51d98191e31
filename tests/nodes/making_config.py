"""PCI configuration space, as much of it as is judged: header, capabilities, PCI Express, AER, ACS.

Registers: Linux include/uapi/linux/pci_regs.h. The rest is zero, as a recording of a real machine has it.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

SPEEDS_GTS = (2.5, 5.0, 8.0, 16.0, 32.0, 64.0)  # the code of a speed is its place here, from 1
PORTS = {"endpoint": 0, "root port": 4, "upstream": 5, "downstream": 6, "to pci": 7, "integrated": 9}
ACS_ON = 0x1D  # what Linux sets: source validation, request and completion redirect, upstream forwarding

_PM, _MSI, _EXPRESS = 0x40, 0x48, 0x60
_SERIAL, _AER, _ACS = 0x100, 0x150, 0x1D0


class Link(NamedTuple):
    """A PCIe link as one of its ends sees it."""

    width: int
    gts: float
    max_width: int
    max_gts: float


def full(width: int, gts: float) -> Link:
    """A link that runs at all that this end can do."""
    return Link(width, gts, width, gts)


def speed(gts: float) -> int:
    return SPEEDS_GTS.index(gts) + 1


def _bytes(size: int) -> int:
    return size.bit_length() - 8  # 128 bytes are 0, 256 are 1


def header(
    vendor: int,
    device: int,
    class_code: int,
    revision: int = 0,
    subsystem: tuple[int, int] = (0, 0),
    buses: tuple[int, int, int] | None = None,
) -> bytes:
    """The 256 bytes that conventional PCI has, with one capability: power management."""
    space = bytearray(256)
    struct.pack_into("<HHHH", space, 0x00, vendor, device, 0x0547, 0x0010)
    struct.pack_into("<I", space, 0x08, class_code << 8 | revision)
    struct.pack_into("<BBB", space, 0x0C, 0x10, 0, 0x00 if buses is None else 0x01)
    if buses is None:
        struct.pack_into("<HH", space, 0x2C, *subsystem)
    else:
        struct.pack_into("<BBB", space, 0x18, *buses)
    space[0x34] = _PM
    struct.pack_into("<BBH", space, _PM, 0x01, 0x00, 0x0003)
    return bytes(space)


def config_space(
    vendor: int,
    device: int,
    class_code: int,
    port: str,
    link: Link,
    *,
    revision: int = 0,
    subsystem: tuple[int, int] = (0, 0),
    buses: tuple[int, int, int] | None = None,  # of a bridge: the one it sits on, the first and last below it
    max_payload: int = 256,
    max_payload_supported: int = 512,
    max_read_request: int = 512,
    acs_capability: int | None = None,
    acs_control: int = 0,
    slot: int | None = None,
    aer: bool = True,
) -> bytes:
    space = bytearray(header(vendor, device, class_code, revision, subsystem, buses) + bytes(4096 - 256))
    struct.pack_into("<BBH", space, _PM, 0x01, _MSI, 0x0003)
    struct.pack_into("<BB", space, _MSI, 0x05, _EXPRESS)
    sizes = {
        "max_payload": max_payload,
        "max_payload_supported": max_payload_supported,
        "max_read_request": max_read_request,
    }
    _express_capability(space, port, link, slot, is_bridge=buses is not None)
    _extended_capabilities(space, aer, acs_capability, acs_control, is_root=port == "root port")
    if port == "integrated":
        return patched(bytes(space), **sizes)
    links = {
        "link_width": link.width,
        "link_speed": link.gts,
        "max_link_width": link.max_width,
        "max_link_speed": link.max_gts,
        "target_link_speed": link.max_gts,
    }
    return patched(bytes(space), **sizes, **links)


def _express_capability(space: bytearray, port: str, link: Link, slot: int | None, is_bridge: bool) -> None:
    downward = port in ("root port", "downstream")
    kind = 2 | PORTS[port] << 4 | (0x100 if slot is not None else 0)
    struct.pack_into("<BBHI", space, _EXPRESS, 0x10, 0x00, kind, 0x8000)
    struct.pack_into("<H", space, _EXPRESS + 0x08, 0x0107 if is_bridge else 0x0917)
    if port != "integrated":
        struct.pack_into("<I", space, _EXPRESS + 0x0C, 0x0800 | (0x00100000 if downward else 0))
        struct.pack_into("<H", space, _EXPRESS + 0x12, 0x1000 | (0x2000 if downward and link.width else 0))
        speeds = sum(1 << code for code in range(1, speed(link.max_gts) + 1))
        struct.pack_into("<I", space, _EXPRESS + 0x2C, speeds)
    if slot is not None:
        struct.pack_into("<IHH", space, _EXPRESS + 0x14, slot << 19 | 75 << 7, 0, 0x40 if link.width else 0)


def _extended_capabilities(
    space: bytearray, aer: bool, acs_capability: int | None, acs_control: int, is_root: bool
) -> None:
    last = 0 if acs_capability is None else _ACS
    struct.pack_into("<I", space, _SERIAL, 0x0003 | 1 << 16 | (_AER if aer else last) << 20)
    if aer:
        struct.pack_into("<IIII", space, _AER, 0x0001 | 2 << 16 | last << 20, 0, 0, 0x00462030)
        struct.pack_into("<III", space, _AER + 0x10, 0, 0x2000, 0xA0)
        if is_root:
            struct.pack_into("<I", space, _AER + 0x2C, 0x7)
    if acs_capability is not None:
        struct.pack_into("<IHH", space, _ACS, 0x000D | 1 << 16, acs_capability, acs_control)


_FIELDS = {  # capability, register, first bit, bits, what turns the value into the bits
    "max_payload_supported": ("express", 0x04, 0, 3, _bytes),
    "max_payload": ("express", 0x08, 5, 3, _bytes),
    "max_read_request": ("express", 0x08, 12, 3, _bytes),
    "max_link_speed": ("express", 0x0C, 0, 4, speed),
    "max_link_width": ("express", 0x0C, 4, 6, int),
    "link_speed": ("express", 0x12, 0, 4, speed),
    "link_width": ("express", 0x12, 4, 6, int),
    "target_link_speed": ("express", 0x30, 0, 4, speed),
    "acs_capability": ("acs", 0x04, 0, 16, int),
    "acs_control": ("acs", 0x06, 0, 16, int),
}


def patched(config: bytes, **values: float) -> bytes:
    """The same config space with some fields otherwise: max_payload=128, acs_control=ACS_ON, link_speed=8.0."""
    space = bytearray(config)
    for name, value in values.items():
        capability, register, first, bits, encode = _FIELDS[name]
        at = (_express(config) if capability == "express" else _acs(config)) + register
        mask = (1 << bits) - 1
        held = int.from_bytes(space[at : at + 2], "little") & ~(mask << first)
        space[at : at + 2] = (held | (encode(value) & mask) << first).to_bytes(2, "little")  # type: ignore[arg-type]
    return bytes(space)


def _express(config: bytes) -> int:
    at = config[0x34]
    while at and config[at] != 0x10:
        at = config[at + 1]
    if not at:
        raise ValueError("the device has no PCI Express capability")
    return at


def _acs(config: bytes) -> int:
    at = 0x100
    while at:
        (head,) = struct.unpack_from("<I", config, at)
        if head & 0xFFFF == 0x000D:
            return at
        at = head >> 20
    raise ValueError("the device has no ACS capability")
