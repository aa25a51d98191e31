"""Every PCIe link on the way of a GPU, NIC, NVSwitch or NVMe drive, from the files of both its ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gpudoctor.collect.attribute import attribute, number
from gpudoctor.collect.collector import collector
from gpudoctor.collect.pcie_ports import DEVICES, asleep, first_functions, is_virtual, ports_above, unseen_port
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.pci import Inventory, PciDevice
from gpudoctor.facts.pcie import LowerEnd, PcieLink
from gpudoctor.node.surface import Node
from gpudoctor.unread import Gap, Reading, Unread, hold, known

ENDS: dict[str, LowerEnd] = {"gpu": "gpu", "nic": "nic", "nvme": "nvme", "nvswitch": "nvswitch"}
ALL_ONES_WIDTH = 63
WIDTHS = (1, 2, 4, 8, 12, 16, 32)
SPEEDS = (2.5, 5.0, 8.0, 16.0, 32.0, 64.0, 128.0)
UNKNOWN_WIDTHS = (0, 255)  # of what sits in the root complex, of a virtual function, of an empty port


@collector
def pcie_links(node: Node, machine: Machine, inventory: Inventory) -> tuple[PcieLink, ...]:
    devices = inventory.devices
    hops = _hops(devices, machine)
    links = (_link(node, devices[lower], kind, upper) for lower, (kind, upper) in sorted(hops.items()))
    return tuple(link for link in links if link is not None)


def _hops(devices: Mapping[str, PciDevice], machine: Machine) -> dict[str, tuple[LowerEnd, PciDevice | Unread]]:
    """By the lower end of each link: its kind, and the port above."""
    hops: dict[str, tuple[LowerEnd, PciDevice | Unread]] = {}
    for device in first_functions(d for d in devices.values() if d.kind in ENDS and not is_virtual(d)):
        ports = ports_above(device, devices)
        hops[device.bus_id] = ENDS[device.kind], _upper(ports[-1:], devices, machine)
        for upstream, above in _uplinks(ports):
            seen = _upper((above,), devices, machine)
            if not isinstance(seen, Unread):
                hops[upstream] = "switch", seen
    return hops


def _uplinks(ports: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The upstream port of each switch, and the port above it."""
    for place in range(1, len(ports), 2):
        yield ports[place], ports[place - 1]


def _upper(port: tuple[str, ...], devices: Mapping[str, PciDevice], machine: Machine) -> PciDevice | Unread:
    above = devices[port[0]] if port else None
    gap = unseen_port(above, machine)
    if gap is not None:
        return gap
    assert above is not None
    return above


def _link(node: Node, device: PciDevice, kind: LowerEnd, upper: PciDevice | Unread) -> PcieLink | None:
    where = f"{DEVICES}/{device.bus_id}"
    if asleep(node, device.bus_id):
        return None
    width, width_max = _width(node, f"{where}/current_link_width"), _width(node, f"{where}/max_link_width")
    if known(width, 0) in UNKNOWN_WIDTHS and _has_no_link(width):
        return None
    gone = Unread(Gap.LOST, f"{where}/current_link_width", "reads as all ones: nothing answers at this address")
    dead = ALL_ONES_WIDTH in (width, width_max)
    speed, speed_max = _speed(node, f"{where}/current_link_speed"), _speed(node, f"{where}/max_link_speed")
    above = upper if isinstance(upper, Unread) else upper.bus_id
    return PcieLink(
        subject=device.subject,
        bus_id=device.bus_id,
        lower=kind,
        upper_bus_id=hold(above),
        width=hold(gone if dead else width),
        speed_gts=hold(gone if dead else speed),
        width_max=hold(gone if dead else width_max),
        speed_max_gts=hold(gone if dead else speed_max),
        upper_width_max=hold(above if isinstance(above, Unread) else _width(node, f"{DEVICES}/{above}/max_link_width")),
        upper_speed_max_gts=hold(
            above if isinstance(above, Unread) else _speed(node, f"{DEVICES}/{above}/max_link_speed")
        ),
    )


def _has_no_link(width: Reading[int]) -> bool:
    return not isinstance(width, Unread) or width.gap in (Gap.ABSENT, Gap.UNSUPPORTED)


def _width(node: Node, path: str) -> Reading[int]:
    lanes = number(node, path)
    if isinstance(lanes, Unread) or lanes in (*WIDTHS, ALL_ONES_WIDTH, *UNKNOWN_WIDTHS):
        return lanes
    return Unread(Gap.MALFORMED, path, f"holds {lanes}, which is no width of a link")


def _speed(node: Node, path: str) -> Reading[float]:
    """`32.0 GT/s PCIe`, `8 GT/s` of older kernels, or `Unknown`."""
    text = attribute(node, path)
    if isinstance(text, Unread):
        return text
    try:
        speed = float(text.split(" ")[0])
    except ValueError:
        speed = 0.0
    return speed if speed in SPEEDS else Unread(Gap.MALFORMED, path, f"holds {text[:40]!r}, which is no speed")
