"""What the configuration of GPUs, NICs and the ports above them is set to. Read only where it is judged."""

from __future__ import annotations

from typing import Any

from gpudoctor.collect.attribute import attribute
from gpudoctor.collect.collector import collector
from gpudoctor.collect.pcie_ports import DEVICES, asleep, judged
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.pci import Inventory, PciDevice
from gpudoctor.facts.pcie import AccessControl, PcieSettings
from gpudoctor.node.surface import Node
from gpudoctor.parse.config_space import ConfigSpace, config_space, is_cut, is_gone
from gpudoctor.unread import Gap, Reading, Unread, hold

GROUPS = "/sys/kernel/iommu_groups"
OF_PORT = Unread(Gap.NOT_RECORDED, GROUPS, "is read only for GPUs and NICs")


@collector
def pcie_settings(node: Node, machine: Machine, inventory: Inventory) -> tuple[PcieSettings, ...]:
    devices = judged(inventory.devices, machine)
    return tuple(_settings(node, device) for bus_id, device in devices.items() if not asleep(node, bus_id))


def _settings(node: Node, device: PciDevice) -> PcieSettings:
    where = f"{DEVICES}/{device.bus_id}/config"
    space = _space(node, where)
    return PcieSettings(
        subject=device.subject,
        bus_id=device.bus_id,
        port_type=hold(_field(space, "port_type", where)),
        max_payload_bytes=hold(_field(space, "max_payload_bytes", where)),
        max_payload_supported_bytes=hold(_field(space, "max_payload_supported_bytes", where)),
        max_read_request_bytes=hold(_field(space, "max_read_request_bytes", where)),
        access_control=hold(_access_control(space, where)),
        iommu_domain=hold(OF_PORT if device.kind == "bridge" else _domain(node, device.bus_id)),
    )


def _space(node: Node, where: str) -> Reading[ConfigSpace]:
    config = node.read(where)
    if isinstance(config, Unread):
        return config
    if is_gone(config):
        return Unread(Gap.LOST, where, "reads as all ones: nothing answers at this address")
    if is_cut(config):
        return Unread(Gap.DENIED, where, "shows only its first 64 bytes to this user", "run as root")
    return config_space(config) or Unread(Gap.ABSENT, where, "has no PCI Express capability")


def _field(space: Reading[ConfigSpace], name: str, where: str) -> Reading[Any]:
    if isinstance(space, Unread):
        return space
    value = getattr(space, name)
    return Unread(Gap.MALFORMED, where, f"holds an undefined {name}") if value is None else value


def _access_control(space: Reading[ConfigSpace], where: str) -> Reading[AccessControl | None]:
    if isinstance(space, Unread):
        return space
    if not space.extended:
        return Unread(Gap.UNSUPPORTED, where, "shows only its first 256 bytes on this machine")
    return space.access_control


def _domain(node: Node, bus_id: str) -> Reading[str | None]:
    """None: no IOMMU stands between this device and memory."""
    group = node.link(f"{DEVICES}/{bus_id}/iommu_group")
    if isinstance(group, Unread):
        return None if group.gap is Gap.ABSENT else group
    return attribute(node, f"{GROUPS}/{group.rpartition('/')[2]}/type")
