"""Reports made by hand, for renderers."""

from __future__ import annotations

from typing import Any

from gpudoctor.report import (
    Evidence,
    Finding,
    Fix,
    Gpu,
    LayerVerdict,
    Machine,
    Outcome,
    Report,
    Source,
    Subject,
    Tool,
)

NODE = Subject("node", "node", "this node")
LINK = "/sys/bus/pci/devices/0000:4b:00.0/current_link_width"
KMSG_DENIED = "/dev/kmsg: Operation not permitted (run as root, or set kernel.dmesg_restrict to 0)"
NASTY = "\x1b[2J\x1b]0;owned\x07[red]not markup[/red] \u202egnp.exe\u202c\x9b31m\r\ttab \u200bzero\ud800 </pre> @root"


def gpu(index: int) -> Subject:
    return Subject("gpu", f"0000:{0x4B + index:02x}:00.0", f"GPU {index} (0000:{0x4B + index:02x}:00.0)")


def h100s(count: int) -> tuple[Gpu, ...]:
    return tuple(Gpu(i, gpu(i).id, "NVIDIA H100 80GB HBM3", f"GPU-{i:08x}") for i in range(count))


def machine(count: int = 8, **other: Any) -> Machine:
    known: dict[str, Any] = {"kernel": "6.8.0-60-generic", "driver_version": "570.158.01", "cuda_version": "12.8"}
    return Machine("linux", **{**known, "gpus": h100s(count), **other})


def finding(code: str, layer: str, severity: Any, title: str, subject: Subject = NODE, **other: Any) -> Finding:
    known: dict[str, Any] = {
        "id": f"{code}@{subject.id}",
        "confidence": "certain",
        "why": f"{title}: this is why.",
        "impact": None,
        "evidence": (),
        "values": {},
        "fixes": (),
        "verify": None,
        "references": (),
        "caused_by": (),
        "explains": (),
    }
    return Finding(code=code, layer=layer, severity=severity, title=title, subject=subject, **{**known, **other})


def gap(check: str, layer: str, reason: str, subject: Subject = NODE) -> Outcome:
    return Outcome(check, layer, subject, "could_not_tell", reason, 0.1)


def clear(check: str, layer: str, subject: Subject = NODE) -> Outcome:
    return Outcome(check, layer, subject, "clear", None, 0.1)


def report(*layers: LayerVerdict, **other: Any) -> Report:
    known: dict[str, Any] = {
        "schema_version": "1",
        "tool": Tool("gpudoctor", "0.1.0"),
        "source": Source("live", "live"),
        "host": "gpu-a17",
        "started": "2026-05-04T10:11:12Z",
        "duration_ms": 412.0,
        "verdict": "ok",
        "exit_code": 0,
        "machine": machine(),
        "findings": (),
        "root_causes": (),
        "outcomes": (),
    }
    return Report(layers=layers, **{**known, **other})


def healthy() -> Report:
    reason = "nvmlDeviceGetFabricState: Not Supported"
    return report(
        LayerVerdict("kernel", "ok", 58, 0, 0),
        LayerVerdict("driver", "ok", 46, 0, 2),
        LayerVerdict("pcie", "unknown", 0, 0, 0),
        outcomes=(gap("FABRIC_STATE", "driver", reason), gap("IMEX", "driver", reason)),
    )


def one_root() -> Report:
    width = finding(
        "PCIE_WIDTH_DEGRADED",
        "pcie",
        "error",
        "GPU 0 (0000:4b:00.0) runs at x8 of x16",
        gpu(0),
        why="Its link to the switch 0000:49:00.0 trained at half width: host copies reach about 26 of 52 GB/s, and "
        "NCCL routes through it at that speed.",
        evidence=(
            Evidence(LINK, None, None, "width 8"),
            Evidence("siblings", None, None, "the other 7 GPUs run at x16"),
        ),
        values={"width": 8, "width_possible": 16},
        fixes=(
            Fix("Drain the node, power off, reseat the riser or retimer of GPU 0.", None, False, "hardware"),
            Fix("See whether the width is back.", "lspci -vv -s 4b:00.0 | grep LnkSta", True, "none"),
        ),
        verify=f"cat {LINK}",
        references=("https://docs.kernel.org/PCI/",),
        explains=("PCIE_AER@0000:49:00.0", "NCCL_PATH_UNEVEN@node"),
    )
    aer = finding(
        "PCIE_AER",
        "kernel",
        "warning",
        "412 corrected receiver errors on 0000:49:00.0",
        Subject("bridge", "0000:49:00.0", "PCI bridge 0000:49:00.0"),
        caused_by=(width.id,),
        evidence=(Evidence("/dev/kmsg", 812, "[  812.114]", "pcieport 0000:49:00.0: AER: Corrected error"),),
    )
    nccl = finding("NCCL_PATH_UNEVEN", "mathlib", "warning", "The ring crosses GPU 0 at 26 GB/s", caused_by=(width.id,))
    denied = "/proc/4411/numa_maps: Permission denied (run as root)"
    process = Subject("process", "4411", "python3 (pid 4411)")
    return report(
        LayerVerdict("kernel", "warning", 40, 1, 0),
        LayerVerdict("driver", "ok", 31, 0, 0),
        LayerVerdict("pcie", "error", 9, 1, 0),
        LayerVerdict("topology", "ok", 11, 0, 1),
        LayerVerdict("mathlib", "warning", 4, 1, 0),
        verdict="error",
        exit_code=1,
        findings=(width, aer, nccl),
        root_causes=(width.id,),
        outcomes=(clear("XID_*", "kernel"), gap("NUMA_MISPLACED_PROCESS", "topology", denied, process)),
    )


def several_roots() -> Report:
    lost = finding(
        "GPU_FELL_OFF_BUS",
        "kernel",
        "critical",
        "GPU 3 (0000:4e:00.0) has fallen off the bus",
        gpu(3),
        confidence="likely",
        why="The driver lost its PCIe link to the GPU. Every process on it is gone.",
        impact="Nothing runs on it before a reset.",
        evidence=tuple(
            Evidence("/dev/kmsg", 900 + n, "10:11:12", f"NVRM: Xid (PCI:0000:4e:00): 79, pid=1234, GPU has fallen {n}")
            for n in range(6)
        ),
        fixes=(Fix("Power-cycle the node.", "ipmitool chassis power cycle", True, "reboot"),),
        explains=("XID_79@0000:4e:00.0",),
    )
    xid = finding("XID_79", "kernel", "critical", "Xid 79 on GPU 3", gpu(3), caused_by=(lost.id,))
    ecc = tuple(
        finding(
            "ROW_REMAP_PENDING",
            "driver",
            "warning",
            f"{gpu(n).label} waits for a reset to remap a row",
            gpu(n),
            fixes=(Fix("Reset the GPU when it is idle.", f"nvidia-smi -r -i {n}", True, "drain"),),
        )
        for n in (1, 2)
    )
    off = tuple(
        finding("PERSISTENCE_OFF", "driver", "info", f"Persistence mode is off on GPU {n}", gpu(n)) for n in range(8)
    )
    return report(
        LayerVerdict("kernel", "critical", 40, 2, 0),
        LayerVerdict("driver", "warning", 31, 10, 24),
        verdict="critical",
        exit_code=1,
        findings=(lost, *ecc, *off, xid),
        root_causes=(lost.id, *(f.id for f in ecc), *(f.id for f in off)),
        outcomes=tuple(
            gap(f"CHECK_{c}", "driver", f"nvmlDeviceGetRetiredPages(gpu {n}): Not Supported", gpu(n))
            for c in "ABC"
            for n in range(8)
        ),
    )


def could_not_tell() -> Report:
    return report(
        LayerVerdict("kernel", "unknown", 0, 0, 3),
        LayerVerdict("driver", "unknown", 0, 0, 1),
        verdict="unknown",
        exit_code=3,
        host=None,
        machine=machine(gpus=None, driver_version=None, cuda_version=None),
        outcomes=(
            *(gap(check, "kernel", KMSG_DENIED) for check in ("XID_*", "SXID_*", "GPU_FELL_OFF_BUS")),
            gap("ECC_DISABLED", "driver", "libnvidia-ml.so.1: is not on this machine"),
        ),
    )


def no_gpu() -> Report:
    return report(
        LayerVerdict("kernel", "ok", 12, 0, 0),
        LayerVerdict("driver", "unknown", 0, 0, 0),
        machine=machine(0, driver_version=None, cuda_version=None, virtualization="vm"),
    )


def nasty() -> Report:
    """A log line and a name that try to steer the terminal, forge markup and break out of a page."""
    bad = finding(
        "XID_13",
        "kernel",
        "warning",
        f"Xid 13 by {NASTY}",
        Subject("process", "1", NASTY),
        why=NASTY,
        evidence=(Evidence("/dev/kmsg", 1, None, NASTY),),
        fixes=(Fix(NASTY, f"echo {NASTY}\nrm ```", False, "none"),),
        verify=NASTY,
        values={"process": NASTY, "raw": b"\xff", "at": float("nan"), 3: {1, 2}, "who": NODE},
    )
    return report(
        LayerVerdict("kernel", "warning", 1, 1, 1),
        host=NASTY,
        verdict="warning",
        findings=(bad,),
        root_causes=(bad.id,),
        outcomes=(gap("A", "kernel", NASTY),),
    )
