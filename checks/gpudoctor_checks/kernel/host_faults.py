"""Faults of the host that GPU work suffers from: processors, memory, stuck tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from gpudoctor.check import check
from gpudoctor.facts.kernel_events import KernelEvents, MachineCheck, OomKill, Stall
from gpudoctor.facts.kernel_log import KernelLog
from gpudoctor.facts.pci import Inventory, PciDevice
from gpudoctor.finding import NODE, Confidence, Finding, Occurrence, Severity, Subject
from gpudoctor.unread import Gap, Unread
from gpudoctor_checks.kernel.pcie_errors import occurrences

CORRECTED_PER_DAY = 10  # mcelog's default threshold for one DIMM (see the row)
DAY = 86400.0


@check("MCE")
def machine_check(events: KernelEvents) -> Iterator[Finding]:
    """Errors that the processors and memory controllers of the host reported of themselves."""
    places: dict[str, list[MachineCheck]] = defaultdict(list)
    for each in events.machine_checks:
        places[each.where].append(each)
    for where, own in places.items():
        uncorrected = sum(each.count for each in own if each.uncorrected)
        unclear = sum(each.count for each in own if each.uncorrected is None)
        day = _peak_per_day(own)
        weak = Severity.WARNING if unclear or day > CORRECTED_PER_DAY else Severity.INFO
        yield Finding(
            Subject(own[0].kind, where, where if own[0].kind == "cpu" else f"DIMM {where}"),
            severity=None if uncorrected else weak,
            confidence=Confidence.POSSIBLE if unclear and not uncorrected else Confidence.CERTAIN,
            evidence=events.evidence(tuple(each.record for each in own)),
            occurrences=occurrences(each.record for each in own),
            uncorrected=uncorrected,
            corrected=sum(each.count for each in own if each.uncorrected is False),
            unclear=unclear,
            peak_per_day=day,
            threshold_per_day=CORRECTED_PER_DAY,
            banks=", ".join(sorted({each.bank for each in own if each.bank})) or "not named",
            status=next((each.status for each in own if each.status), "not named"),
            action="uncorrected" if uncorrected or unclear else "corrected" if weak > Severity.INFO else "watch",
        )


def _peak_per_day(own: Sequence[MachineCheck]) -> int:
    """Corrected errors in the worst 24 hours; all of them where the log has no times."""
    counted = [(each.record.at, each.count) for each in own if each.uncorrected is False]
    times = [(at, count) for at, count in counted if at is not None]
    if len(times) < len(counted):
        return sum(count for _, count in counted)
    start = total = peak = 0
    for at, count in times:
        total += count
        while at - times[start][0] > DAY:
            total -= times[start][1]
            start += 1
        peak = max(peak, total)
    return peak


@check("HOST_OOM_KILL")
def oom_kill(events: KernelEvents) -> Iterator[Finding]:
    """The kernel killed processes for want of host memory."""
    names: dict[tuple[str, bool], list[OomKill]] = defaultdict(list)
    for kill in events.oom_kills:
        names[kill.process, kill.cgroup_limited].append(kill)
    for (process, limited), kills in names.items():
        pids = [str(kill.pid) for kill in kills]
        shown = f"pid {pids[0]}" if len(pids) == 1 else f"{len(pids)} times, last pid {pids[-1]}"
        rss = [kill.rss_bytes for kill in kills if kill.rss_bytes is not None]
        yield Finding(
            Subject("process", process, f"{process} ({shown})", tuple(pids)),
            evidence=events.evidence(tuple(kill.record for kill in kills)),
            occurrences=[Occurrence(kill.record.at, str(kill.pid)) for kill in kills if kill.record.at is not None],
            process=process,
            pids=pids,
            count=len(kills),
            rss_gib=round(max(rss) / 2**30, 1) if rss else None,
            limit="its cgroup's limit" if limited else "all memory of the machine",
            cgroup=next((kill.cgroup for kill in kills if kill.cgroup), None),
            action="cgroup" if limited else "machine",
        )


@check("HUNG_TASK")
def hung_task(events: KernelEvents, log: KernelLog, inventory: Inventory) -> Iterator[Finding]:
    """Tasks that wait in the kernel inside a GPU driver. Tasks that wait elsewhere are not ours."""
    hung = [stall for stall in events.stalls if stall.kind == "hung task"]
    devices: dict[str, PciDevice] = inventory.get("devices", {})
    gpus = sorted({d.bus_id for d in devices.values() if d.kind == "gpu"} | {e.bus_id for e in log.xids})
    names: dict[str, list[Stall]] = defaultdict(list)
    for stall in hung:
        if stall.module:
            names[stall.process or "a task"].append(stall)
    for process, own in names.items():
        pids = sorted({str(stall.pid) for stall in own})
        yield Finding(
            Subject("process", process, f"{process} (pid {', '.join(pids[:4])})", (*pids, *gpus)),
            evidence=events.evidence(tuple(stall.record for stall in own)),
            occurrences=occurrences(stall.record for stall in own),
            process=process,
            pids=pids,
            module=own[0].module,
            seconds=max(stall.seconds or 0 for stall in own),
            count=len(own),
        )
    if untraced := [stall for stall in hung if not stall.traced]:
        raise Unread(
            Gap.ABSENT,
            events.origin,
            f"{len(untraced)} blocked tasks stand there without a call trace, so where they wait is not known",
            "send the lines after 'blocked for more than' too",
        )


@check("CPU_LOCKUP")
def lockup(events: KernelEvents) -> Iterator[Finding]:
    """Processors that were stuck in the kernel."""
    stuck = [stall for stall in events.stalls if stall.kind != "hung task"]
    if stuck:
        module = next((stall.module for stall in stuck if stall.module), None)
        yield Finding(
            NODE,
            severity=Severity.ERROR if module or any(s.kind == "hard lockup" for s in stuck) else Severity.WARNING,
            evidence=events.evidence(tuple(stall.record for stall in stuck)),
            occurrences=occurrences(stall.record for stall in stuck),
            count=len(stuck),
            cpus=sorted({stall.cpu for stall in stuck if stall.cpu is not None}),
            seconds=max((stall.seconds or 0 for stall in stuck), default=0),
            process=next((stall.process for stall in stuck if stall.process), None),
            module=module or "no GPU driver",
        )
