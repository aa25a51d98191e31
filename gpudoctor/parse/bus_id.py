"""PCI addresses, in one normal form from here on: dddd:bb:dd.f, lower case."""

from __future__ import annotations

import re

_BUS_ID = re.compile(
    r"(?:(?P<domain>[0-9a-fA-F]{1,8}):)?(?P<bus>[0-9a-fA-F]{1,2}):(?P<slot>[0-9a-fA-F]{1,2})(?:\.(?P<function>[0-7]))?"
)


def normal_bus_id(text: str) -> str | None:
    """`00000000:3B:00.0` (NVML), `PCI:0000:3b:00` (Xid lines), `3b:00.0` (lspci) -> `0000:3b:00.0`."""
    found = _BUS_ID.fullmatch(text.strip().removeprefix("PCI:"))
    if found is None:
        return None
    domain, bus, slot = (int(found[part] or "0", 16) for part in ("domain", "bus", "slot"))
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{found['function'] or '0'}" if slot < 32 else None


def bus_id_of(domain: str, bus: str, slot: str, function: str = "0") -> str:
    """Out of hexadecimal parts as they stand in a line; the slot is taken as it is said."""
    return f"{int(domain, 16):04x}:{bus.lower()}:{slot.lower()}.{function}"


_HOST_BRIDGE = re.compile(r"/(pci[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2})/")


def host_bridge_of(target: str) -> str | None:
    """`../../../devices/pci0000:16/0000:16:01.0` -> `pci0000:16`, also where a platform device stands above it."""
    found = _HOST_BRIDGE.search(target)
    return found[1] if found else None


def bus_ids_on_path(target: str) -> tuple[str, ...]:
    """`../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0` -> every function from the root port down."""
    found = (normal_bus_id(part) if part.count(":") == 2 else None for part in target.split("/"))
    return tuple(each for each in found if each)
