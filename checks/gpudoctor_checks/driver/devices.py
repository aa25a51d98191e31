"""GPUs counted four times: on the bus, taken by the driver, with a device node, seen by NVML."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.driver import DeviceNode, DeviceNodes, DriverGpu, NvidiaDriver
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.nvml import Nvml
from gpudoctor.facts.pci import Inventory, PciDevice
from gpudoctor.finding import NODE, Confidence, Evidence, Finding, Severity, Subject
from gpudoctor.knowledge import table
from gpudoctor.unread import Gap, Unread
from gpudoctor_checks.gpu_models import PACK

DISPLAY = 0x03
INTEGRATED = Unread(Gap.UNSUPPORTED, "/sys/bus/pci/devices", "NVIDIA's module serves a GPU that is on no PCI bus")
ON_DEMAND = Unread(
    Gap.ABSENT,
    "/dev",
    "has not all of the driver's nodes yet: nvidia-modprobe makes them for the first program, and a scan makes none",
    "run nvidia-smi once, then scan again",
)
BARRED = "its mode admits this user, and opening it is refused"


@check("NO_GPU")
def no_gpu(inventory: Inventory, machine: Machine, driver: NvidiaDriver | None) -> Iterator[Finding]:
    """Neither the bus nor NVML shows a GPU that could compute."""
    devices = inventory.devices.values()
    if any(d.kind == "gpu" for d in devices) or inventory.get("gpu_indices"):
        return
    if str(machine.get("virtualization", "")).startswith("wsl"):
        return  # the GPU sits behind /dev/dxg, not on this bus
    if driver is not None and driver.get("loaded"):
        raise INTEGRATED
    others = [d for d in devices if d.get("class_code", 0) >> 16 == DISPLAY]
    yield Finding(
        NODE,
        evidence=[Evidence("/sys/bus/pci/devices", f"{len(devices)} devices, none of them a GPU that can compute")],
        devices=len(devices),
        nics=sum(d.kind == "nic" for d in devices),
        displays=[d.bus_id for d in others],
        action="vm" if machine.get("virtualization") == "vm" else "bare",
    )


@check("NO_GPU")
def no_gpu_in_this_container(nodes: DeviceNodes, inventory: Inventory, machine: Machine) -> Iterator[Finding]:
    """The host has GPUs; this container or this job was given none."""
    present = _gpu_nodes(nodes)
    barred = [p for p in present if _barred(nodes.nodes[p], machine.uid)]
    if barred != present or (bool(present) is bool(machine.container)):
        return  # in a container what was not given is absent, in a job it is refused
    gpus = inventory.nvidia_gpus()
    if gpus and not inventory.get("gpu_indices"):
        what = [Evidence(p, BARRED) for p in barred] or [Evidence("/dev", "no nvidia0, nvidia1, ...")]
        yield Finding(
            NODE,
            evidence=[*what, *(e for gpu in gpus for e in gpu.seen("driver"))],
            devices=len(inventory.devices),
            on_bus=[gpu.bus_id for gpu in gpus],
            action="container" if machine.container else "job",
        )


def _gpu_nodes(nodes: DeviceNodes) -> list[str]:
    """Nodes of single GPUs that are there, or that could not be looked for."""
    return [path for path, node in nodes.nodes.items() if path[-1].isdecimal() and node is not None]


def _open(node: DeviceNode | Unread | None) -> bool:
    return isinstance(node, DeviceNode) and node.readable and node.writable


def _barred(node: DeviceNode | Unread | None, uid: int) -> bool:
    """Refused although the mode admits this user: by the device cgroup of a job or container."""
    if not isinstance(node, DeviceNode) or _open(node):
        return False
    own = uid in (0, node.uid) and node.mode & 0o600 == 0o600
    return own or node.mode & 0o006 == 0o006


@check("GPU_NOT_IN_NVML", "GPU_EXCLUDED")
def missing_from_nvml(
    inventory: Inventory, nvml: Nvml, gpus: tuple[DriverGpu, ...], nodes: DeviceNodes
) -> Iterator[Finding]:
    """NVML answers, and does not list a GPU that the driver holds."""
    taken = {gpu.bus_id: gpu for gpu in gpus}
    for device in inventory.nvidia_gpus():
        gpu = taken.get(device.bus_id)
        if gpu is not None and gpu.get("excluded"):
            yield Finding(device.subject, code="GPU_EXCLUDED", evidence=gpu.seen("excluded"), model=gpu.get("model"))
        elif device.driver == "nvidia" and device.bus_id not in nvml.bus_ids.values() and _allotted(gpu, nodes):
            silent = nvml.get("silent", {})
            yield Finding(
                inventory.subject(device.bus_id),
                evidence=[
                    *device.seen("driver"),
                    Evidence(nvml.source("bus_ids"), f"lists {', '.join(sorted(nvml.bus_ids.values())) or 'no GPU'}"),
                    *(Evidence(f"{nvml.source('silent')} {index}", str(gap)) for index, gap in silent.items()),
                ],
                seen=len(nvml.bus_ids),
                on_bus=len(inventory.nvidia_gpus()),
                model=gpu.get("model") if gpu else None,
            )


def _allotted(gpu: DriverGpu | None, nodes: DeviceNodes) -> bool:
    """Whether this user could open the GPU at all: in a container or a Slurm job often only some."""
    if gpu is None:
        return False
    return _open(nodes.nodes.get(f"/dev/nvidia{gpu.get('minor')}"))


@check("GPU_MISSING_FROM_BUS")
def fewer_than_the_board_carries(inventory: Inventory, machine: Machine) -> Iterator[Finding]:
    """A baseboard's NVSwitches are all there, and not all of its GPUs."""
    if machine.virtualization is not None:
        return  # a guest is given what its owner paid for
    devices = list(inventory.devices.values())
    gpus = inventory.nvidia_gpus()
    for board in table(PACK, "device_ids")["baseboards"]:
        switches = [d for d in devices if d.kind == "nvswitch" and d.device_id == board["device_id"]]
        boards, odd = divmod(len(switches), board["switches"])
        expected = boards * board["gpus"]
        if boards and not odd and len(gpus) < expected:
            yield Finding(
                NODE,
                confidence=Confidence.LIKELY,
                evidence=[
                    Evidence("/sys/bus/pci/devices", f"{len(switches)} NVSwitches of {board['name']}"),
                    Evidence("/sys/bus/pci/devices", f"{len(gpus)} GPUs: {', '.join(gpu.bus_id for gpu in gpus)}"),
                ],
                found=len(gpus),
                expected=expected,
                missing=expected - len(gpus),
                board=board["name"],
                switches=len(switches),
            )


@check("DEVICE_NODES_MISSING")
def absent_nodes(nodes: DeviceNodes, driver: NvidiaDriver, inventory: Inventory, machine: Machine) -> Iterator[Finding]:
    """A node is absent, and nothing here creates it on demand."""
    absent = [path for path, node in nodes.nodes.items() if node is None and _due(path, driver)]
    if machine.container:
        given = _gpu_nodes(nodes)
        absent = [path for path in absent if given and not path[-1].isdecimal()]
    elif not absent or not _bound(inventory):
        return
    elif driver.loader:
        raise ON_DEMAND
    if absent:
        yield Finding(
            NODE,
            evidence=[*(Evidence(path, "absent") for path in absent), *driver.seen("version")],
            nodes=absent,
            action="container" if machine.container else "node",
        )
        return
    for node in nodes.nodes.values():
        if isinstance(node, Unread):
            raise node


def _due(path: str, driver: NvidiaDriver) -> bool:
    return path != "/dev/nvidia-uvm" or "nvidia_uvm" in driver.get("modules", {})


def _bound(inventory: Inventory) -> list[PciDevice]:
    return [gpu for gpu in inventory.nvidia_gpus() if gpu.driver == "nvidia"]


@check("PERMISSION_DENIED")
def closed_nodes(nodes: DeviceNodes, machine: Machine) -> Iterator[Finding]:
    """A node is there, and this user may not open it for reading and writing."""
    gpus = _gpu_nodes(nodes)
    some = any(_open(nodes.nodes[path]) for path in gpus)
    for path, node in nodes.nodes.items():
        if not isinstance(node, DeviceNode) or _open(node):
            continue
        barred = _barred(node, machine.uid)
        if barred and (path in gpus if some else not machine.container):
            continue  # another job's GPU; or a job without GPUs, which is told of elsewhere
        said = f"mode {node.mode:04o}, owner {node.uid}:{node.gid}; this user is {machine.uid}"
        yield Finding(
            Subject("device_node", path, path),
            severity=Severity.INFO if some and path in gpus else None,  # schedulers also allot by owner and mode
            confidence=Confidence.LIKELY if barred else Confidence.CERTAIN,
            evidence=[Evidence(path, f"{said}; {BARRED}" if barred else said)],
            mode=f"{node.mode:04o}",
            gid=node.gid,
            uid=machine.uid,
            action="cgroup" if barred else "mode",
        )
