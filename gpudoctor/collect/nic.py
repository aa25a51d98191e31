"""Network adapters: their interfaces and RDMA ports. A virtual function is part of its adapter."""

from __future__ import annotations

import re

from gpudoctor.collect.attribute import attribute, number
from gpudoctor.collect.collector import collector
from gpudoctor.facts.nic import Interface, Nic, RdmaPort
from gpudoctor.facts.pci import PciDevice
from gpudoctor.node.surface import Node
from gpudoctor.unread import Gap, Reading, Unread, hold, known

DEVICES, NET, INFINIBAND = "/sys/bus/pci/devices", "/sys/class/net", "/sys/class/infiniband"
VIRTIO = 0x1AF4
_VIRTIO_DEVICE = re.compile(r"virtio\d+")
_RATE = re.compile(r"(\d+(?:\.\d+)?) Gb/sec")


@collector
def nics(node: Node, devices: tuple[PciDevice, ...]) -> tuple[Nic, ...]:
    found = (_nic(node, device) for device in devices if device.kind == "nic")
    return tuple(nic for nic in found if nic is not None)


def _nic(node: Node, device: PciDevice) -> Nic | None:
    where = f"{DEVICES}/{device.bus_id}"
    if isinstance(node.link(f"{where}/physfn"), str):
        return None
    virtio = device.get("vendor_id") == VIRTIO
    interfaces = _names(node, f"{_virtio(node, where) if virtio else where}/net")
    if virtio and not known(interfaces, ()):
        return None
    adapters = () if virtio else _names(node, f"{where}/infiniband")
    return Nic(
        device.subject,
        device.bus_id,
        hold(device.reading("driver")),
        hold(interfaces if isinstance(interfaces, Unread) else tuple(_interface(node, n) for n in interfaces)),
        hold(adapters if isinstance(adapters, Unread) else tuple(p for name in adapters for p in _ports(node, name))),
    )


def _names(node: Node, folder: str) -> Reading[tuple[str, ...]]:
    names = node.list(folder)
    return () if isinstance(names, Unread) and names.gap is Gap.ABSENT else names


def _virtio(node: Node, where: str) -> str:
    """A virtio function holds its device in a folder of its own: virtio2/net."""
    inside = known(node.list(where), ())
    return f"{where}/{next((name for name in inside if _VIRTIO_DEVICE.fullmatch(name)), 'virtio')}"


def _interface(node: Node, name: str) -> Interface:
    speed = known(number(node, f"{NET}/{name}/speed"), 0)  # -1 or no answer while the link is down
    return Interface(
        name,
        known(attribute(node, f"{NET}/{name}/operstate"), "unknown"),
        speed if speed > 0 else None,
        known(number(node, f"{NET}/{name}/mtu"), 0),
    )


def _ports(node: Node, adapter: str) -> list[RdmaPort]:
    folder = f"{INFINIBAND}/{adapter}/ports"
    return [_port(node, adapter, int(name)) for name in known(node.list(folder), ()) if name.isdecimal()]


def _port(node: Node, adapter: str, which: int) -> RdmaPort:
    where = f"{INFINIBAND}/{adapter}/ports/{which}"
    state, physical, rate, layer = (
        known(attribute(node, f"{where}/{name}"), "") for name in ("state", "phys_state", "rate", "link_layer")
    )
    told = _RATE.match(rate)
    return RdmaPort(adapter, which, _word(state), _word(physical), float(told[1]) if told else 0.0, layer)


def _word(text: str) -> str:
    """`4: ACTIVE` -> ACTIVE"""
    return text.partition(":")[2].strip() or text
