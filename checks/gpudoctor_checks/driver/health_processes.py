"""GPU memory that nobody visible holds, and holders that are dead."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.gpu_process import GpuMemoryUse
from gpudoctor.facts.gpu_settings import GpuSettings
from gpudoctor.facts.machine import Machine
from gpudoctor.finding import Confidence, Finding
from gpudoctor.unread import Gap, Unread

MIB = 1 << 20
MARGIN = 1024 * MIB  # an idle H200 has 0 in use, and 9 MiB beside a process that computes (R580)
FOR_EACH_HOLDER = 256 * MIB
UNSEEN = Unread(
    Gap.DENIED,
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "does not show the processes outside of this container or guest",
    "scan from the host, or with its process namespace",
)


@check("GPU_MEMORY_WITHOUT_PROCESS")
def unowned(use: GpuMemoryUse, settings: GpuSettings, machine: Machine) -> Iterator[Finding]:
    """Memory in use, less what the listed processes hold and what the driver reserves."""
    shared = settings.get("mig", False) or settings.get("virtualization", "none") in ("vgpu", "host_vgpu")
    if shared or use.get("system_memory", False):
        return
    held = [holder.used_bytes for holder in use.holders]
    known = sum(used for used in held if used is not None)
    margin = MARGIN + FOR_EACH_HOLDER * len(held)
    if use.used_bytes - known <= margin:
        return
    if machine.container or machine.virtualization == "wsl2":
        raise UNSEEN
    if None in held:
        raise Unread(Gap.UNSUPPORTED, "nvmlDeviceGetComputeRunningProcesses_v3", "does not say how much each holds")
    yield Finding(
        use.subject,
        confidence=Confidence.LIKELY,
        evidence=use.seen("used_bytes", "reserved_bytes", "total_bytes", "holders"),
        unowned_mib=(use.used_bytes - known) // MIB,
        used_mib=use.used_bytes // MIB,
        total_mib=use.total_bytes // MIB,
        listed=len(held),
        margin_mib=margin // MIB,
    )


@check("DEAD_PROCESS_HOLDS_GPU")
def dead_holder(use: GpuMemoryUse, machine: Machine) -> Iterator[Finding]:
    """NVML lists a process that /proc calls a zombie, or does not know."""
    dead = [holder for holder in use.holders if holder.alive in ("zombie", "gone")]
    if not dead:
        return
    if machine.container or machine.get("virtualization") == "wsl2":
        raise UNSEEN
    yield Finding(
        use.subject,
        confidence=Confidence.CERTAIN if any(h.alive == "zombie" for h in dead) else Confidence.LIKELY,
        evidence=use.seen("holders"),
        pids=", ".join(f"{h.pid} ({h.alive})" for h in dead),
        pid=dead[0].pid,
        held_mib=sum(h.used_bytes or 0 for h in dead) // MIB,
    )
