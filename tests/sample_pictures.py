"""Facts of made-up nodes, written by hand, and the reports on them: for the picture and its forms."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import sample_reports
from sample_reports import NASTY

from gpudoctor.facts.fact import Fact, Facts
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.host import Cpu, HostMemory
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.nic import Interface, Nic, RdmaPort
from gpudoctor.facts.numa import Numa, NumaNode
from gpudoctor.facts.nvlink import GpuNvLinks, NvLink
from gpudoctor.facts.pci import Inventory, Kind, PciDevice, gpu_subject, pci_subject
from gpudoctor.facts.pcie import LowerEnd, PcieLink
from gpudoctor.facts.peers import GpuPeers, PeerAccess
from gpudoctor.facts.process import GpuProcess
from gpudoctor.facts.topology import Topology, Way
from gpudoctor.finding import Subject
from gpudoctor.render.topo.drawn import FACTS, draw
from gpudoctor.render.topo.picture import Picture
from gpudoctor.report import Gpu as ReportedGpu
from gpudoctor.report import LayerVerdict, Report
from gpudoctor.unread import Gap, Reading, Unread

DENIED = Unread(Gap.DENIED, "/proc/4411/status", "Permission denied", "run as root, or as the user of that process")
GONE = Unread(Gap.TIMED_OUT, "the scan", "had no answer after 20 s", "raise --timeout")
F = TypeVar("F", bound=Fact)

PATHS = {  # two sockets, a switch each: two GPUs, an adapter, and a drive on a root port of its own
    "0000:19:00.0": ("0000:15:01.0", "0000:16:00.0", "0000:17:00.0"),
    "0000:1a:00.0": ("0000:15:01.0", "0000:16:00.0", "0000:17:01.0"),
    "0000:1b:00.0": ("0000:15:01.0", "0000:16:00.0", "0000:17:02.0"),
    "0000:5a:00.0": ("0000:59:01.0",),
    "0000:99:00.0": ("0000:95:01.0", "0000:96:00.0", "0000:97:00.0"),
    "0000:9a:00.0": ("0000:95:01.0", "0000:96:00.0", "0000:97:01.0"),
    "0000:9b:00.0": ("0000:95:01.0", "0000:96:00.0", "0000:97:02.0"),
    "0000:da:00.0": ("0000:d9:01.0",),
}
KINDS: dict[str, Kind] = {
    **dict.fromkeys(PATHS, "gpu"),
    "0000:1b:00.0": "nic",
    "0000:9b:00.0": "nic",
    "0000:5a:00.0": "nvme",
    "0000:da:00.0": "nvme",
}
GPUS = tuple(bus_id for bus_id, kind in KINDS.items() if kind == "gpu")
NICS = tuple(bus_id for bus_id, kind in KINDS.items() if kind == "nic")


def told(fact: type[F], /, **known: Any) -> F:
    """A fact of which only this is known; the rest had no answer."""
    return fact(**{name: known.get(name, GONE) for name in fact.__fact_fields__})


def subject(bus_id: str) -> Subject:
    kind = KINDS.get(bus_id, "bridge")
    path = PATHS.get(bus_id, ())
    return gpu_subject(bus_id, GPUS.index(bus_id), path) if kind == "gpu" else pci_subject(bus_id, kind, path)


def home(bus_id: str) -> int:
    return int(bus_id >= "0000:90")


def pci_device(bus_id: str, kind: Kind, path: tuple[str, ...]) -> PciDevice:
    codes = {"gpu": 0x030200, "nic": 0x020700, "nvme": 0x010802, "bridge": 0x060400}
    root = f"pci{(path or (bus_id,))[0][:7]}"
    return told(
        PciDevice,
        subject=subject(bus_id),
        bus_id=bus_id,
        kind=kind,
        class_code=codes[kind],
        path=path,
        host_bridge=root,
        numa_node=home(bus_id),
    )


def pcie_link(bus_id: str, lower: LowerEnd, upper: str, width: int, speed: float, **other: float) -> PcieLink:
    known: dict[str, float] = {"width": width, "width_max": width, "upper_width_max": width}
    known |= {"speed_gts": speed, "speed_max_gts": speed, "upper_speed_max_gts": speed, **other}
    return told(PcieLink, subject=subject(bus_id), bus_id=bus_id, lower=lower, upper_bus_id=upper, **known)


def way(first: str, second: str) -> Way:
    if first == second:
        return Way("X")
    if first in GPUS and second in GPUS:
        return Way("NV", 18)
    return Way("PIX" if PATHS[first][0] == PATHS[second][0] else "NODE" if home(first) == home(second) else "SYS")


def nvlinks(bus_id: str, down: int = 0) -> GpuNvLinks:
    links = tuple(
        NvLink(n, n >= down, 4 if n >= down else None, "switch" if n >= down else "unknown", None, 26562)
        for n in range(18)
    )
    return told(GpuNvLinks, subject=subject(bus_id), links=links, c2c=False)


def numa() -> Numa:
    cpus = (frozenset({*range(16), *range(32, 48)}), frozenset({*range(16, 32), *range(48, 64)}))
    first = NumaNode(0, cpus[0], 1007 << 30, 977 << 30, (10, 21))
    return told(Numa, nodes=(first, NumaNode(1, cpus[1], 1008 << 30, 978 << 30, (21, 10))))


def gpu(bus_id: str) -> Gpu:
    index = GPUS.index(bus_id)
    return told(Gpu, subject=subject(bus_id), bus_id=bus_id, vendor="nvidia", index=index, is_idle=True)


def nic(bus_id: str, name: str = "mlx5_0", state: str = "ACTIVE") -> Nic:
    physical = "LinkUp" if state == "ACTIVE" else "Polling"
    port = RdmaPort(name, 1, state, physical, 400.0 if state == "ACTIVE" else 0, "InfiniBand")
    interface = Interface(f"ib{bus_id[5:7]}", "up", None, 4092)
    return told(Nic, subject=subject(bus_id), bus_id=bus_id, interfaces=(interface,), rdma_ports=(port,))


def process(pid: int, gpus: tuple[str, ...], cpus: Reading[frozenset[int]], command: str) -> GpuProcess:
    subjects = tuple(subject(each) for each in gpus)
    own = Subject("process", str(pid), f"{command} (pid {pid})", tuple(each.id for each in subjects))
    return told(GpuProcess, subject=own, pid=pid, gpus=subjects, command=command, cpus_allowed=cpus)


def held() -> dict[type[Fact], Fact | tuple[Fact, ...] | Unread | None]:
    """A healthy node of two sockets, four GPUs, two adapters and two drives."""
    bridges = {b: path[:n] for path in PATHS.values() for n, b in enumerate(path)}
    devices = {
        **{b: pci_device(b, "bridge", path) for b, path in bridges.items()},
        **{b: pci_device(b, KINDS[b], path) for b, path in PATHS.items()},
    }
    links = [pcie_link(b, KINDS[b], PATHS[b][-1], 4 if KINDS[b] == "nvme" else 16, 32.0) for b in PATHS]  # type: ignore[arg-type]
    links += [pcie_link("0000:16:00.0", "switch", "0000:15:01.0", 16, 32.0)]
    links += [pcie_link("0000:96:00.0", "switch", "0000:95:01.0", 16, 32.0)]
    everyone = (*GPUS, *NICS)
    ways = {first: {second: way(first, second) for second in everyone} for first in everyone}
    return {
        Machine: told(Machine, platform="linux", uid=0),
        Cpu: told(Cpu, model="Intel Xeon 6444Y", sockets=2, cores=32, threads=64),
        HostMemory: told(HostMemory, total_bytes=2015 << 30),
        Numa: numa(),
        PciDevice: tuple(devices.values()),
        Inventory: told(Inventory, gpu_indices={b: n for n, b in enumerate(GPUS)}, devices=devices),
        Gpu: tuple(gpu(b) for b in GPUS),
        PcieLink: tuple(links),
        GpuNvLinks: tuple(nvlinks(b) for b in GPUS),
        Nic: tuple(nic(b, f"mlx5_{n}") for n, b in enumerate(NICS)),
        Topology: told(
            Topology,
            gpus=tuple(map(subject, GPUS)),
            nics=tuple(map(subject, NICS)),
            ways=ways,
            homes={b: home(b) for b in everyone},
        ),
        GpuPeers: told(GpuPeers, pairs=()),
        GpuProcess: (),
    }


def report(**other: object) -> Report:
    gpus = tuple(ReportedGpu(n, bus_id, "NVIDIA H200", f"GPU-{n}") for n, bus_id in enumerate(GPUS))
    made = sample_reports.report(LayerVerdict("pcie", "ok", 20, 0, 0), machine=sample_reports.machine(gpus=gpus))
    return msgspec.structs.replace(made, **other)  # type: ignore[arg-type]


def two_sockets() -> Picture:
    return draw(Facts(held()), report())


def broken() -> Picture:
    """A half-width GPU below a port with errors, NVLinks down, a missing pair, an adapter down, a far process."""
    facts = held()
    narrow, short, port = GPUS[1], GPUS[2], PATHS[GPUS[1]][-1]
    links = {link.bus_id: link for link in facts[PcieLink]}  # type: ignore[union-attr]
    links[narrow] = pcie_link(narrow, "gpu", port, 8, 32.0, width_max=16, upper_width_max=16)
    links[GPUS[3]] = pcie_link(GPUS[3], "gpu", PATHS[GPUS[3]][-1], 16, 2.5, speed_max_gts=32.0, upper_speed_max_gts=32)
    ways = {**facts[Topology].ways}  # type: ignore[union-attr]
    for one, other in ((GPUS[0], GPUS[3]), (GPUS[3], GPUS[0])):
        ways[one] = {**ways[one], other: Way("SYS")}
    pair = Subject("pair", f"{GPUS[0]}+{GPUS[3]}", f"{subject(GPUS[0])} and {subject(GPUS[3])}")
    far = process(4411, (GPUS[3],), frozenset(range(16)), "python train.py")
    facts |= {
        Topology: facts[Topology].with_fields(ways=ways),  # type: ignore[union-attr]
        PcieLink: tuple(links.values()),
        GpuNvLinks: (*(nvlinks(b) for b in GPUS if b != short), nvlinks(short, down=1)),
        Nic: (nic(NICS[0], "mlx5_0"), nic(NICS[1], "mlx5_1", "DOWN")),
        GpuProcess: (far, process(4412, GPUS[:1], DENIED, "python serve.py")),
        GpuPeers: told(GpuPeers, pairs=(PeerAccess(subject(GPUS[0]), subject(GPUS[3]), "topology"),)),
    }
    width = sample_reports.finding(
        "PCIE_WIDTH_DEGRADED", "pcie", "error", f"{subject(narrow)} runs at x8 of x16", _subject(narrow)
    )
    found = (
        width,
        sample_reports.finding(
            "NVLINK_DOWN", "topology", "error", f"{subject(short)}: 1 of its 18 NVLinks is down", _subject(short)
        ),
        sample_reports.finding(
            "NVLINK_MISSING_PAIR",
            "topology",
            "error",
            f"{pair.label} do not reach each other over NVLink",
            sample_reports.Subject(pair.kind, pair.id, pair.label),
        ),
        sample_reports.finding(
            "NUMA_MISPLACED_PROCESS",
            "topology",
            "warning",
            "python train.py (pid 4411) runs on CPUs of NUMA node 0, its GPU is on node 1",
            sample_reports.Subject(far.subject.kind, far.subject.id, far.subject.label),
        ),
        sample_reports.finding("NUMA_BALANCING_ON", "topology", "warning", "NUMA balancing is on"),
        sample_reports.finding("PERSISTENCE_OFF", "driver", "info", "Persistence mode is off", _subject(GPUS[0])),
        sample_reports.finding(
            "PCIE_AER",
            "kernel",
            "warning",
            f"412 corrected errors at PCI bridge {port}",
            _subject(port),
            caused_by=(width.id,),
        ),
    )
    return draw(Facts(facts), report(findings=found, root_causes=tuple(f.id for f in found if not f.caused_by)))


def nasty() -> Picture:
    """Every text of the machine tries to steer a terminal, forge markup or break out."""
    facts = held()
    facts |= {
        Nic: tuple(nic(b, f'mlx5_"{NASTY}"\\') for b in NICS),
        GpuProcess: (process(7, GPUS[:1], frozenset({1}), NASTY * 4),),
        Cpu: told(Cpu, model=NASTY),
        PcieLink: Unread(Gap.MALFORMED, "/sys", NASTY),
    }
    bad = sample_reports.finding("XID_13", "kernel", "critical", NASTY, _subject(GPUS[0]))
    gpus = tuple(ReportedGpu(n, b, f"{NASTY}{b}\"'<script>alert(1)</script>&amp;", None) for n, b in enumerate(GPUS))
    machine = sample_reports.machine(gpus=gpus)
    return draw(Facts(facts), report(host=NASTY, machine=machine, findings=(bad,), root_causes=(bad.id,)))


def unread() -> Picture:
    return draw(Facts(dict.fromkeys(FACTS, GONE)), sample_reports.could_not_tell())


def no_gpu() -> Picture:
    """A host with an adapter and no GPU."""
    facts = held()
    keep = {b: d for b, d in facts[Inventory].devices.items() if b not in GPUS}  # type: ignore[union-attr]
    facts |= {Gpu: (), GpuNvLinks: (), GpuProcess: (), PciDevice: tuple(keep.values()), PcieLink: ()}
    facts |= {Inventory: told(Inventory, gpu_indices={}, devices=keep)}
    facts |= {Topology: told(Topology, gpus=(), nics=tuple(map(subject, NICS)), ways={}, homes={})}
    return draw(Facts(facts), sample_reports.no_gpu())


def sixteen() -> Picture:
    """More GPUs and adapters than a matrix has room for side by side; four reach each other through xGMI."""
    facts = held()
    gpus = tuple(gpu_subject(f"0000:{0x20 + n:02x}:00.0", n) for n in range(16))
    nics = tuple(pci_subject(f"0000:{0x60 + n:02x}:00.0", "nic") for n in range(18))
    everyone = (*gpus, *nics)
    ways = {a.id: {b.id: Way("X") if a is b else Way("PXB") for b in everyone} for a in everyone}
    near = [each.id for each in gpus[:4]]
    for one in near:
        ways[one] |= {other: Way("XGMI") for other in near if other != one}
    homes = {each.id: number % 2 for number, each in enumerate(everyone)}
    facts |= {Topology: told(Topology, gpus=gpus, nics=nics, ways=ways, homes=homes)}
    return draw(Facts(facts), report())


def _subject(bus_id: str) -> sample_reports.Subject:
    own = subject(bus_id)
    return sample_reports.Subject(own.kind, own.id, own.label)


NAMES = ("two_sockets", "broken", "nasty", "unread", "no_gpu", "sixteen")
