"""What the node is: the head of the report."""

from __future__ import annotations

from gpudoctor.facts.fact import Facts
from gpudoctor.facts.gpu import Gpu as GpuFact
from gpudoctor.facts.machine import Machine as MachineFact
from gpudoctor.facts.nvml import Nvml
from gpudoctor.facts.pci import PciDevice
from gpudoctor.node.surface import Node
from gpudoctor.report import Gpu, Machine


def described(facts: Facts, node: Node) -> tuple[Machine, str | None]:
    """The machine as a report shows it, and the node's name."""
    machine, nvml = facts.one(MachineFact), facts.one(Nvml)
    known = machine if isinstance(machine, MachineFact) else None
    driver = nvml if isinstance(nvml, Nvml) else None
    made = Machine(
        node.platform,
        kernel=known.get("kernel_release") if known else None,
        virtualization=known.get("virtualization") if known else None,
        driver_version=driver.get("driver_version") if driver else None,
        cuda_version=driver.get("cuda_version") if driver else None,
        gpus=_gpus(facts),
    )
    return made, known.get("hostname") if known else None


def _gpus(facts: Facts) -> tuple[Gpu, ...] | None:
    """GPUs that answer, and those that are only seen on the bus. None: neither could be asked."""
    answering, devices = facts.all(GpuFact), facts.all(PciDevice)
    if not isinstance(answering, tuple) and not isinstance(devices, tuple):
        return None
    made: dict[str, Gpu] = {}
    for gpu in answering if isinstance(answering, tuple) else ():
        made[gpu.bus_id] = Gpu(gpu.get("index"), gpu.bus_id, gpu.get("name"), gpu.get("uuid"))
    for device in devices if isinstance(devices, tuple) else ():
        if device.get("kind") == "gpu":
            made.setdefault(device.bus_id, Gpu(None, device.bus_id, None, None))
    return tuple(made.values())
