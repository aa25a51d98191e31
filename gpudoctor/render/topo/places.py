"""The devices of the picture and what each hangs off, out of the PCI bus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from gpudoctor.facts.fact import Facts
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.nic import Nic
from gpudoctor.facts.numa import Numa
from gpudoctor.facts.pci import Inventory, PciDevice
from gpudoctor.facts.topology import Topology
from gpudoctor.render.topo.picture import Device, DeviceKind, Interface, RdmaPort

ENDPOINTS: tuple[DeviceKind, ...] = ("gpu", "nic", "nvme", "nvswitch")


def devices_of(facts: Facts, models: Mapping[str, str | None]) -> tuple[Device, ...]:
    """Endpoints worth drawing, and the root ports and switches above them; parents before children."""
    places = _Places(facts, models)
    made: dict[str, Device] = {}
    for device in sorted(_endpoints(facts), key=lambda d: d.bus_id):
        for each in places.chain(device):
            known = made.get(each.id)
            ports = tuple(dict.fromkeys((*(known.ports if known else ()), *each.ports)))
            home = known.numa_node if known and known.numa_node is not None else each.numa_node
            made[each.id] = msgspec.structs.replace(each, ports=ports, numa_node=home)
    for bare in places.without_a_bus(made.keys()):
        made[bare.id] = bare
    return tuple(made.values())


def _endpoints(facts: Facts) -> Iterator[PciDevice]:
    devices, nics = facts.all(PciDevice), facts.all(Nic)
    adapters = {nic.bus_id for nic in nics} if isinstance(nics, tuple) else None
    for device in devices if isinstance(devices, tuple) else ():
        kind = device.get("kind")
        if kind in ENDPOINTS and (kind != "nic" or adapters is None or device.bus_id in adapters):
            yield device


class _Places:
    def __init__(self, facts: Facts, models: Mapping[str, str | None]) -> None:
        inventory, numa, topology = facts.one(Inventory), facts.one(Numa), facts.one(Topology)
        gpus, nics = facts.all(Gpu), facts.all(Nic)
        self.numa = numa if isinstance(numa, Numa) else None
        told = {gpu.bus_id: gpu.get("name") for gpu in gpus} if isinstance(gpus, tuple) else {}
        self.models = {**told, **{bus_id: name for bus_id, name in models.items() if name}}
        self.nics = {nic.bus_id: nic for nic in nics} if isinstance(nics, tuple) else {}
        self.indices: dict[str, int] = inventory.get("gpu_indices", {}) if isinstance(inventory, Inventory) else {}
        listed = topology if isinstance(topology, Topology) else None
        order = [subject.id for subject in (listed.get("gpus", ()) if listed else ())]
        self.numbers = self.indices or {bus_id: number for number, bus_id in enumerate(order)}
        self.nic_numbers: dict[str, int] = {s.id: n for n, s in enumerate(listed.get("nics", ()) if listed else ())}
        self.homes: dict[str, int | None] = listed.get("homes", {}) if listed else {}

    def chain(self, endpoint: PciDevice) -> Iterator[Device]:
        """Root port, switches from above, the endpoint."""
        root_bus, home = endpoint.get("host_bridge"), self._home(endpoint)
        path: tuple[str, ...] = endpoint.get("path", ())
        above: str | None = None
        if path:
            yield Device(path[0], "root_port", "root port", None, None, None, root_bus, home)
            above = path[0]
        for first, second in zip(path[1::2], [*path[2::2], None], strict=False):
            kind: DeviceKind = "switch" if second else "bridge"
            ports = (first, second) if second else (first,)
            yield Device(first, kind, kind, None, None, above, root_bus, home, ports)
            above = first
        yield self._endpoint(endpoint, above, root_bus, home)

    def _endpoint(self, device: PciDevice, above: str | None, root_bus: str | None, home: int | None) -> Device:
        nic = self.nics.get(device.bus_id)
        kind: DeviceKind = device.get("kind")
        label, name = {"gpu": "GPU", "nic": "NIC", "nvme": "NVMe", "nvswitch": "NVSwitch"}[kind], None
        if kind == "gpu":
            label = self._gpu_label(device.bus_id)
            name = self.models.get(device.bus_id)
        if kind == "nic":
            name = nic.name if nic and nic.name != device.bus_id else None
            number = self.nic_numbers.get(device.bus_id)
            label = " ".join(filter(None, (f"NIC{'' if number is None else number}", name)))
        return Device(
            device.bus_id,
            kind,
            label,
            name,
            self.indices.get(device.bus_id) if kind == "gpu" else None,
            above,
            root_bus,
            home,
            rdma_ports=_rdma_ports(nic),
            interfaces=_interfaces(nic),
        )

    def without_a_bus(self, drawn: Iterable[str]) -> Iterator[Device]:
        """GPUs that NVML lists where the bus does not show them, as on WSL2."""
        for bus_id in sorted({*self.models, *self.indices} - set(drawn)):
            name, label = self.models.get(bus_id), self._gpu_label(bus_id)
            yield Device(bus_id, "gpu", label, name, self.indices.get(bus_id), None, None, None)

    def _gpu_label(self, bus_id: str) -> str:
        return f"GPU {self.numbers[bus_id]}" if bus_id in self.numbers else "GPU ?"

    def _home(self, device: PciDevice) -> int | None:
        if self.homes.get(device.bus_id) is not None:
            return self.homes[device.bus_id]
        numa_node = device.get("numa_node")
        if numa_node is None or self.numa is None or self.numa.get("nodes") is None:
            return numa_node if numa_node is not None and numa_node >= 0 else None
        return self.numa.home_of(numa_node)


def _rdma_ports(nic: Nic | None) -> tuple[RdmaPort, ...]:
    return tuple(
        RdmaPort(p.device, p.number, p.state, p.physical_state, p.rate_gbit_per_s, p.link_layer)
        for p in (nic.get("rdma_ports", ()) if nic else ())
    )


def _interfaces(nic: Nic | None) -> tuple[Interface, ...]:
    return tuple(
        Interface(each.name, each.state, each.speed_mbit_per_s) for each in (nic.get("interfaces", ()) if nic else ())
    )
