"""What the node is: the head of the report."""

from __future__ import annotations

from typing import Any, TypeVar

from gpudoctor.facts.amd import AmdGpu
from gpudoctor.facts.driver import NvidiaDriver
from gpudoctor.facts.fact import Fact, Facts
from gpudoctor.facts.gpu import Gpu as GpuFact
from gpudoctor.facts.host import Cpu, CpuFrequency, HostMemory, Storage
from gpudoctor.facts.machine import Machine as MachineFact
from gpudoctor.facts.numa import Numa
from gpudoctor.facts.nvml import Nvml
from gpudoctor.facts.pci import Inventory, PciDevice
from gpudoctor.node.surface import Node
from gpudoctor.report import Gpu, Host, Machine, WorkingDirectory
from gpudoctor.unread import Gap, Unread

HOST: frozenset[type[Fact]] = frozenset({Cpu, CpuFrequency, HostMemory, Numa, Storage})
FACTS: frozenset[type[Fact]] = HOST | {MachineFact, Nvml, NvidiaDriver, GpuFact, AmdGpu, PciDevice, Inventory}
Known = TypeVar("Known", bound=Fact)


def described(facts: Facts, node: Node) -> tuple[Machine, str | None]:
    """The machine as a report shows it, and the node's name."""
    machine, nvml = facts.one(MachineFact), facts.one(Nvml)
    known = machine if isinstance(machine, MachineFact) else None
    answering = nvml if isinstance(nvml, Nvml) else None
    made = Machine(
        node.platform,
        kernel=known.get("kernel_release") if known else None,
        virtualization=known.get("virtualization") if known else None,
        driver_version=_driver_version(facts, answering),
        cuda_version=answering.get("cuda_version") if answering else None,
        gpus=_gpus(facts),
        host=_host(facts),
    )
    return made, known.get("hostname") if known else None


def _host(facts: Facts) -> Host | None:
    cpu, memory, numa, storage = (_one(facts, kind) for kind in (Cpu, HostMemory, Numa, Storage))
    frequency = _one(facts, CpuFrequency)
    if cpu is memory is numa is storage is None:
        return None

    def told(fact: Fact | None, name: str) -> Any:
        return fact.get(name) if fact else None

    nodes = [node for node in told(numa, "nodes") or () if node.cpus or node.memory_bytes]
    folders = told(storage, "folders") or ()
    working = next((folder for folder in folders if folder.purpose == "working directory"), None)
    return Host(
        cpu=told(cpu, "model"),
        sockets=told(cpu, "sockets"),
        cores=told(cpu, "cores"),
        threads=told(cpu, "threads"),
        smt=told(cpu, "smt"),
        numa_nodes=len(nodes) if nodes else None,
        memory_bytes=told(memory, "total_bytes"),
        swap_bytes=told(memory, "swap_total_bytes"),
        governors=tuple(told(frequency, "governors") or ()),
        frequency_driver=told(frequency, "driver"),
        working_directory=working
        and WorkingDirectory(working.path, working.file_system, working.device, working.medium),
    )


def _one(facts: Facts, kind: type[Known]) -> Known | None:
    held = facts.one(kind)
    return held if isinstance(held, kind) else None


def _driver_version(facts: Facts, nvml: Nvml | None) -> str | None:
    """As NVML says it, else as the loaded module does, else amdgpu's."""
    loaded, amd = facts.one(NvidiaDriver), facts.all(AmdGpu)
    said = nvml.get("driver_version") if nvml else None
    module = loaded.get("version") if isinstance(loaded, NvidiaDriver) else None
    amdgpu = (gpu.get("driver_version") for gpu in amd) if isinstance(amd, tuple) else ()
    return said or module or next((version for version in amdgpu if version), None)


def _gpus(facts: Facts) -> tuple[Gpu, ...] | None:
    """GPUs that answer, and those that are only seen on the bus. None: neither could be asked."""
    answering, devices = facts.all(GpuFact), facts.all(PciDevice)
    if not isinstance(answering, tuple) and not isinstance(devices, tuple):
        return None
    amd = facts.all(AmdGpu)
    products = {gpu.bus_id: gpu.get("product_name") for gpu in amd} if isinstance(amd, tuple) else {}
    made: dict[str, Gpu] = {}
    for gpu in answering if isinstance(answering, tuple) else ():
        name = gpu.get("name") if gpu.vendor == "nvidia" else products.get(gpu.bus_id) or "AMD GPU"
        made[gpu.bus_id] = Gpu(gpu.get("index"), gpu.bus_id, name, gpu.get("uuid"))
    for device in devices if isinstance(devices, tuple) else ():
        if device.get("kind") == "gpu":
            made.setdefault(device.bus_id, Gpu(None, device.bus_id, None, None))
    if not made and isinstance(answering, Unread) and answering.gap is Gap.TIMED_OUT:
        return None  # a bus that shows none is no proof: WSL2, a container without sysfs
    return tuple(made.values())
