"""PCI configuration space: what a device's PCI Express and ACS capabilities say.

Registers: https://github.com/torvalds/linux/blob/master/include/uapi/linux/pci_regs.h
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gpudoctor.facts.pcie import AccessControl, PortType

HEADER, CONVENTIONAL = 64, 256
_EXPRESS, _ACS = 0x10, 0x000D
_PORTS: dict[int, PortType] = {
    0: "endpoint",
    1: "endpoint",
    4: "root_port",
    5: "switch_upstream",
    6: "switch_downstream",
}
_REQUEST_REDIRECT, _COMPLETION_REDIRECT = 0x04, 0x08


class ConfigSpace(msgspec.Struct, frozen=True):
    """A size is None where the register holds what the specification leaves undefined."""

    port_type: PortType
    max_payload_bytes: int | None  # set now
    max_payload_supported_bytes: int | None
    max_read_request_bytes: int | None
    extended: bool  # whether the capabilities beyond the first 256 bytes could be seen
    access_control: AccessControl | None  # None: it has none, or what holds it could not be seen


def is_gone(config: bytes) -> bool:
    """All ones: nothing answers any more."""
    return config[:4] == b"\xff\xff\xff\xff"


def is_cut(config: bytes) -> bool:
    """The header alone, as a user without CAP_SYS_ADMIN gets it, of a device that has more."""
    return len(config) <= HEADER and len(config) > 6 and bool(config[6] & 0x10)


def config_space(config: bytes) -> ConfigSpace | None:
    """None where the device has no PCI Express capability, or not all of it was read."""
    at = _express(config)
    if at is None or is_gone(config):
        return None
    flags, supported, control = _word(config, at + 2), _word(config, at + 4), _word(config, at + 8)
    extended = dict(_extended(config))
    return ConfigSpace(
        port_type=_PORTS.get(flags >> 4 & 0xF, "other"),
        max_payload_bytes=_bytes(control >> 5),
        max_payload_supported_bytes=_bytes(supported),
        max_read_request_bytes=_bytes(control >> 12),
        extended=len(config) > CONVENTIONAL,
        access_control=_access_control(config, extended[_ACS]) if _ACS in extended else None,
    )


def _express(config: bytes) -> int | None:
    if len(config) <= HEADER or not config[6] & 0x10:
        return None
    at, seen = config[0x34] & 0xFC, set[int]()
    while at >= HEADER and at + 0x14 <= len(config) and at not in seen:
        seen.add(at)
        if config[at] == _EXPRESS:
            return at
        at = config[at + 1] & 0xFC
    return None


def _extended(config: bytes) -> Iterator[tuple[int, int]]:
    """Each capability and where it is."""
    at, seen = CONVENTIONAL, set[int]()
    while at >= CONVENTIONAL and at + 8 <= len(config) and at not in seen:
        seen.add(at)
        head = int.from_bytes(config[at : at + 4], "little")
        if head in (0, 0xFFFF_FFFF):
            return
        yield head & 0xFFFF, at
        at = head >> 20 & 0xFFC


def _access_control(config: bytes, at: int) -> AccessControl:
    word = _word(config, at + 6)
    return AccessControl(bool(word & _REQUEST_REDIRECT), bool(word & _COMPLETION_REDIRECT), word)


def _word(config: bytes, at: int) -> int:
    return int.from_bytes(config[at : at + 2], "little")


def _bytes(code: int) -> int | None:
    return 128 << (code & 7) if code & 7 <= 5 else None
