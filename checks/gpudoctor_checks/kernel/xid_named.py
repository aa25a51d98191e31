"""What an Xid says that has a code of its own, whichever surface reports it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from gpudoctor.check import check
from gpudoctor.facts.fact import SubjectFact
from gpudoctor.facts.gpu_health import GpuEcc, GpuMemoryRepair, GpuRecovery
from gpudoctor.facts.kernel_log import KernelLog, Remapping
from gpudoctor.facts.pci import Inventory
from gpudoctor.finding import Finding, Occurrence
from gpudoctor_checks.kernel.xid import evidence, gpu_of
from gpudoctor_checks.kernel.xid_history import Seen, history

Told = TypeVar("Told", bound=SubjectFact)


class Named(msgspec.Struct, frozen=True):
    code: str
    xids: tuple[int, ...]
    says: Callable[[Seen], bool]
    gone: Callable[[Now], bool]  # the GPU itself says that it is no longer so: it was reset since


class Now(msgspec.Struct, frozen=True):
    """What NVML says of the GPU at this moment; None where it does not say."""

    repair: GpuMemoryRepair | None
    ecc: GpuEcc | None
    recovery: GpuRecovery | None

    def says(self, field: str, value: object) -> bool:
        facts = (f for f in (self.repair, self.ecc, self.recovery) if f is not None)
        return any(dict(f.readings()).get(field) == value for f in facts)


def _always(seen: Seen) -> bool:
    return True


def _remap(seen: Seen) -> tuple[str, str]:
    said = seen.event.says
    return (said.scheme, said.state) if isinstance(said, Remapping) else ("other", "unknown")


def _row_pending(seen: Seen) -> bool:
    return _remap(seen)[0] == "row" and "pending" in _remap(seen)[1]


def _page_pending(seen: Seen) -> bool:
    return _remap(seen)[0] == "page" and "pending" in _remap(seen)[1]


def _remap_failed(seen: Seen) -> bool:
    """Every Xid 64 that does not say that the row already waits for its reset, or that it was a page."""
    scheme, state = _remap(seen)
    return scheme != "page" and "pending" not in state


def _asks_for_nothing(now: Now) -> bool:
    return now.says("action", "none")


NAMED = (
    Named("ECC_UNCORRECTABLE", (48, 140, 171, 172), _always, lambda now: now.says("volatile_uncorrected", 0)),
    Named("ROW_REMAP_PENDING", (63, 64), _row_pending, lambda now: now.says("remap_pending", False)),
    Named("PAGE_RETIREMENT_PENDING", (63, 64), _page_pending, lambda now: now.says("retirement_pending", False)),
    Named("ROW_REMAP_FAILURE", (64,), _remap_failed, lambda now: now.says("remap_failed", False)),
    Named("GPU_FELL_OFF_BUS", (79,), _always, _asks_for_nothing),
    Named("GSP_TIMEOUT", (119,), _always, _asks_for_nothing),
)


@check(*(named.code for named in NAMED))
def named_faults(
    log: KernelLog,
    inventory: Inventory,
    repairs: tuple[GpuMemoryRepair, ...] | None,
    eccs: tuple[GpuEcc, ...] | None,
    recoveries: tuple[GpuRecovery, ...] | None,
) -> Iterator[Finding]:
    """The same code as other surfaces give it: NVML's counters, or lines without a number."""
    if not log.xids:
        return
    past = history(log)
    for bus_id in dict.fromkeys(bus_id for bus_id, _ in past.by_code):
        now = Now(_of(repairs, bus_id), _of(eccs, bus_id), _of(recoveries, bus_id))
        for named in NAMED:
            if named.gone(now):
                continue
            group = [s for s in past.seen if s.event.bus_id == bus_id and s.event.xid in named.xids and named.says(s)]
            if group:
                yield Finding(
                    gpu_of(inventory, bus_id),
                    code=named.code,
                    evidence=evidence(group, log),
                    occurrences=[Occurrence(at) for at in dict.fromkeys(round(s.at, 1) for s in group)][:500],
                    count=len(group),
                    first=group[0].event.record.time,
                    last=group[-1].event.record.time,
                    detail=group[0].event.detail[:300],
                )


def _of(facts: tuple[Told, ...] | None, bus_id: str) -> Told | None:
    return next((fact for fact in facts or () if fact.subject.id == bus_id), None)
