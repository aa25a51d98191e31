"""Faults that look like the programs' own, until different programs have them at the same place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from gpudoctor.check import check
from gpudoctor.facts.kernel_log import KernelLog, SmFault
from gpudoctor.facts.pci import Inventory
from gpudoctor.finding import Confidence, Finding, Subject
from gpudoctor_checks.kernel.xid import evidence, gpu_of, occurrences
from gpudoctor_checks.kernel.xid_history import Seen, history

SUSPICIOUS_PROGRAMS = 3  # that share one place. A grid's first block goes to the same SM in every run: all 16
# exceptions provoked on five H200 machines were on GPC 1, TPC 4, SM 0. So this is never more than possible.
FAULTS = (13, 31)


@check("XID_13_REPEATED_SM")
def repeated_sm(log: KernelLog, inventory: Inventory) -> Iterator[Finding]:
    """Programs of different names raised exceptions on one streaming multiprocessor."""
    places: dict[tuple[str, str], list[Seen]] = defaultdict(list)
    for seen in history(log).seen if log.xids else ():
        said = seen.event.says
        if isinstance(said, SmFault) and seen.program:
            places[seen.event.bus_id, f"GPC {said.gpc}, TPC {said.tpc}, SM {said.sm}"].append(seen)
    for (bus_id, sm), group in places.items():
        yield from _suspicion(gpu_of(inventory, bus_id), group, log, sm=sm)


@check("GPU_FAULTS_ACROSS_PROGRAMS")
def across_programs(log: KernelLog, inventory: Inventory) -> Iterator[Finding]:
    """Several programs faulted on one GPU, and none of them on another that they could have used."""
    if sum(device.kind == "gpu" for device in inventory.get("devices", {}).values()) < 2:
        return
    by_gpu: dict[str, list[Seen]] = defaultdict(list)
    for seen in history(log).seen if log.xids else ():
        if seen.event.xid in FAULTS and seen.program:
            by_gpu[seen.event.bus_id].append(seen)
    for bus_id, group in by_gpu.items():
        yield from _suspicion(gpu_of(inventory, bus_id), group, log)


def _suspicion(gpu: Subject, group: list[Seen], log: KernelLog, **place: Any) -> Iterator[Finding]:
    programs = _programs(group)
    if len(programs) >= SUSPICIOUS_PROGRAMS and not _same_everywhere(programs, group[0].event.bus_id, log):
        yield Finding(
            gpu,
            confidence=Confidence.POSSIBLE,
            evidence=evidence(group, log),
            occurrences=occurrences(group),
            programs=", ".join(programs),
            count=len(group),
            **place,
        )


def _programs(group: list[Seen]) -> tuple[str, ...]:
    """By name: runs of one program fail alike, and the same first block lands on the same SM each time."""
    return tuple(dict.fromkeys(s.process for s in group if s.process))


def _same_everywhere(programs: tuple[str, ...], bus_id: str, log: KernelLog) -> bool:
    """One of these programs fails on other GPUs too, so the program is at fault."""
    return any(e.xid in FAULTS and e.bus_id != bus_id and e.process in programs for e in log.xids)
