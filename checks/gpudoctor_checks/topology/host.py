"""What the host is set to, or busy with, that costs a GPU job."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.amd import AmdGpu
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_process import GpuMemoryUse
from gpudoctor.facts.gpu_settings import GpuSettings
from gpudoctor.facts.host import CpuFrequency, HostMemory, Swapping
from gpudoctor.facts.numa import Numa
from gpudoctor.finding import NODE, Evidence, Finding, Severity
from gpudoctor.unread import Gap, Unread

# here `powersave` scales with the load, and the hardware follows a preference: admin-guide/pm/intel_pstate, amd-pstate
DRIVERS_OF_THEIR_OWN = ("intel_pstate", "amd-pstate-epp")
SLOW_GOVERNORS = {
    "powersave": "asks for the lowest there is",
    "conservative": "raises them one small step at a time",
}
SLOW_PREFERENCES = {"balance_power", "power"}
STALLED_PERCENT = 10.0
PAGES_IN_PER_SECOND = 256  # 1 MiB/s: hundreds of waits for the swap device in each second
PLENTY_FREE = 0.1


@check("CPU_GOVERNOR_POWERSAVE")
def governor(
    frequency: CpuFrequency, gpus: tuple[Gpu, ...], settings: tuple[GpuSettings, ...] | None, amd: tuple[AmdGpu, ...]
) -> Iterator[Finding]:
    """The CPUs that feed the GPUs are kept slow."""
    if not gpus:
        return
    if frequency.driver in DRIVERS_OF_THEIR_OWN:
        slow = sorted(frequency.energy_preferences & SLOW_PREFERENCES)
        if slow and "powersave" in frequency.governors:
            setting, effect = f"energy preference {slow[-1]}", "makes the hardware slow to raise them"
            preferences = ", ".join(sorted(frequency.energy_preferences))
            seen = (*_clocks(frequency), Evidence(frequency.source("energy_preferences"), preferences))
            yield Finding(NODE, severity=Severity.INFO, evidence=seen, setting=setting, effect=effect, action="prefer")
        return
    server = any(each.get("data_centre") for each in settings or ()) or _instinct(amd)
    policies = sum(frequency.governors.values())
    for name, effect in SLOW_GOVERNORS.items():
        if count := frequency.governors.get(name, 0):
            grave = server and name == "powersave"
            setting = f"governor {name}" + (f" on {count} of {policies} policies" if count < policies else "")
            severity = Severity.WARNING if grave else Severity.INFO
            seen = _clocks(frequency)
            yield Finding(NODE, severity=severity, evidence=seen, setting=setting, effect=effect, action="govern")
            return


@check("NUMA_BALANCING_ON")
def balancing(numa: Numa, uses: tuple[GpuMemoryUse, ...], amd: tuple[AmdGpu, ...]) -> Iterator[Finding]:
    """The kernel takes pages away from running GPU jobs to see which node uses them."""
    nodes = _with_memory(numa)
    if nodes > 1 and numa.balancing & 1 and (_instinct(amd) or jobs(uses)):
        yield Finding(NODE, evidence=numa.seen("balancing"), nodes=nodes)


@check("ZONE_RECLAIM_ON")
def zone_reclaim(numa: Numa, gpus: tuple[Gpu, ...]) -> Iterator[Finding]:
    """A full NUMA node drops its file cache before memory of another node is taken."""
    if gpus and _with_memory(numa) > 1 and numa.zone_reclaim:
        yield Finding(NODE, evidence=numa.seen("zone_reclaim"), mode=numa.zone_reclaim)


@check("HOST_SWAPPING")
def swapping(swapping: Swapping, memory: HostMemory, uses: tuple[GpuMemoryUse, ...]) -> Iterator[Finding]:
    """Pages come back from swap while a GPU job runs. That some were swapped out long ago says nothing."""
    if not jobs(uses) or memory.swap_total_bytes == memory.swap_free_bytes:
        return
    if swapping.pages_in.since == "boot":
        if memory.get("stalled_percent", 100.0) < STALLED_PERCENT:
            return  # what swapping there is costs little
        raise Unread(
            Gap.NOT_RECORDED, "/proc/vmstat", "read once, it tells of all since boot alone", "give --sample 1s"
        )
    rate = swapping.pages_in.per_minute / 60
    if rate >= PAGES_IN_PER_SECOND:
        used = memory.swap_total_bytes - memory.swap_free_bytes
        filled = f"{_gib(used)} of {_gib(memory.swap_total_bytes)} swap in use"
        seen = (*swapping.seen("pages_in", "pages_out"), Evidence("/proc/meminfo", filled))
        yield Finding(NODE, evidence=seen, rate=f"{rate:.0f}", processes=_named(jobs(uses)))


@check("HOST_MEMORY_STALLS")
def stalls(memory: HostMemory, uses: tuple[GpuMemoryUse, ...]) -> Iterator[Finding]:
    """For much of the last minute nothing on the host could run for want of memory."""
    if not jobs(uses):
        return
    if memory.lacks("stalled_percent") and memory.available_bytes > PLENTY_FREE * memory.total_bytes:
        return
    if memory.stalled_percent >= STALLED_PERCENT:
        percent = f"{memory.stalled_percent:.0f}"
        left = f"{_gib(memory.available_bytes)} of {_gib(memory.total_bytes)} available"
        seen = (
            Evidence(memory.source("stalled_percent"), f"full avg60={memory.stalled_percent:.2f}"),
            Evidence(memory.source("available_bytes"), left),
        )
        yield Finding(NODE, evidence=seen, percent=percent, processes=_named(jobs(uses)))


def jobs(uses: tuple[GpuMemoryUse, ...]) -> list[int]:
    """Pids of processes that compute on a GPU. Raises where none is seen and not every GPU tells."""
    found = {holder.pid for use in uses for holder in use.get("holders", ()) if holder.kind == "compute"}
    return sorted(found or {holder.pid for use in uses for holder in use.holders if holder.kind == "compute"})


def _clocks(frequency: CpuFrequency) -> tuple[Evidence, ...]:
    governors = ", ".join(f"{name} on {count}" for name, count in sorted(frequency.governors.items()))
    return Evidence(frequency.source("driver"), frequency.driver), Evidence(frequency.source("governors"), governors)


def _gib(amount: int) -> str:
    return f"{amount / (1 << 30):.1f} GiB"


def _named(pids: list[int]) -> str:
    return f"pid {pids[0]}" + (f" and {len(pids) - 1} more" if len(pids) > 1 else "")


def _instinct(amd: tuple[AmdGpu, ...]) -> bool:
    return any("Instinct" in (gpu.get("product_name") or "") for gpu in amd)


def _with_memory(numa: Numa) -> int:
    return sum(node.memory_bytes > 0 for node in numa.nodes)
