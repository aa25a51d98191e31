"""Which Xids count, whose they are, and which of them only follow from others."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gpudoctor.facts.gpu_health import GpuRecovery
from gpudoctor.facts.kernel_log import KernelLog, RecoveryChange, Reset, XidEvent
from gpudoctor.knowledge import table
from gpudoctor.unread import Unread

SLACK_SECONDS = 1.0  # lines of one event are logged out of order by about this much
PROBE_SECONDS = 10.0  # the module probes its GPUs before it prints its load line
PREEMPTIVE_REMOVAL, RETIREMENT = 45, 63
ONE_EVENT_SECONDS = 1.0  # Xid 13 comes as up to four lines, of which only the last names the process


class Seen(msgspec.Struct, frozen=True):
    """An Xid on the log's one clock, with the process that its neighbouring lines name."""

    event: XidEvent
    at: float
    pid: int | None
    process: str | None

    @property
    def program(self) -> str | None:
        return self.process or (None if self.pid is None else f"pid {self.pid}")


class History(msgspec.Struct, frozen=True):
    seen: tuple[Seen, ...]  # in the log's order; what a reset settled is left out
    by_code: Mapping[tuple[str, int], tuple[Seen, ...]]  # bus id, Xid
    recovery: Mapping[str, RecoveryChange]  # bus id -> what the driver last asked for
    asked: Mapping[str, str]  # bus id -> what the GPU asks for now, by NVML; GPUs that do not say are left out

    @property
    def xids(self) -> frozenset[int]:
        return frozenset(xid for _, xid in self.by_code)


class Split(msgspec.Struct, frozen=True):
    """The events of one Xid on one GPU: those that stand on their own, and the consequences."""

    standing: tuple[Seen, ...]
    following: tuple[Seen, ...]
    elsewhere: frozenset[str]  # other GPUs on which a cause lies


def xid_table() -> Mapping[int, Mapping[str, Any]]:
    entries: Mapping[int, Mapping[str, Any]] = table("gpudoctor_checks", "xid")["xids"]
    return entries


def is_application(xid: int) -> bool:
    return bool(xid_table().get(xid, {}).get("class") == "application")


def history(log: KernelLog, recoveries: Iterable[GpuRecovery] | None = None) -> History:
    events = [e for e in log.xids if not (isinstance(e.says, RecoveryChange) and e.says.after == 0)]
    standing = _unsettled(events, log.resets)
    seen = _attributed(standing, _clock(standing))
    by_code: dict[tuple[str, int], list[Seen]] = defaultdict(list)
    recovery: dict[str, RecoveryChange] = {}
    for each in seen:
        by_code[each.event.bus_id, each.event.xid].append(each)
        if isinstance(each.event.says, RecoveryChange):
            recovery[each.event.bus_id] = each.event.says
    asked = {r.subject.id: r.action for r in recoveries or () if not isinstance(r.reading("action"), Unread)}
    return History(seen, {key: tuple(group) for key, group in by_code.items()}, recovery, asked)


def _unsettled(events: Sequence[XidEvent], resets: Sequence[Reset]) -> list[XidEvent]:
    """Events from before a reset of their GPU count only where the same Xid came again after it."""
    last: dict[tuple[str, int], XidEvent] = {(e.bus_id, e.xid): e for e in events}
    fresh = {key for key, event in last.items() if not any(_settles(reset, event) for reset in resets)}
    return [e for e in events if (e.bus_id, e.xid) in fresh]


def _settles(reset: Reset, event: XidEvent) -> bool:
    if reset.bus_id not in (None, event.bus_id) or reset.record.line <= event.record.line:
        return False
    if reset.how == "module loaded" and reset.record.at is not None and event.record.at is not None:
        return reset.record.at - event.record.at > PROBE_SECONDS
    return True


def _clock(events: Iterable[XidEvent]) -> list[float]:
    """Seconds; in a log without times the line number, which keeps order and nearness."""
    events = list(events)
    timed = any(e.record.at is not None for e in events)
    clock: list[float] = []
    for event in events:
        at = event.record.at if timed else float(event.record.line)
        clock.append(at if at is not None else clock[-1] if clock else 0.0)
    return clock


def _attributed(events: Sequence[XidEvent], clock: Sequence[float]) -> tuple[Seen, ...]:
    named: dict[str, tuple[float, XidEvent]] = {}  # per GPU, the next 13 or 43 that names its process
    seen: list[Seen] = []
    for event, at in zip(reversed(events), reversed(clock), strict=True):
        pid, process = event.pid, event.process
        if event.xid in (13, 43) and pid is not None:
            named[event.bus_id] = at, event
        elif event.xid == 13 and event.bus_id in named and named[event.bus_id][0] - at <= ONE_EVENT_SECONDS:
            pid, process = named[event.bus_id][1].pid, named[event.bus_id][1].process
        seen.append(Seen(event, at, pid, process))
    return tuple(reversed(seen))


class Causes(msgspec.Struct):
    """When causes happened, by place and by process: asked once for each event of a storm."""

    hardware: dict[str, list[float]] = msgspec.field(default_factory=lambda: defaultdict(list))  # bus id
    grave: dict[str, list[float]] = msgspec.field(default_factory=lambda: defaultdict(list))  # those that end a job
    application: dict[tuple[str, int | None], list[float]] = msgspec.field(default_factory=lambda: defaultdict(list))
    places: dict[int, set[str]] = msgspec.field(default_factory=lambda: defaultdict(set))  # pid -> GPUs it was seen on


def causes_of(xid: int, past: History, also: Iterable[int] = ()) -> Causes:
    wanted = {*xid_table().get(xid, {}).get("follows", ()), *also}
    causes = Causes()
    for seen in past.seen:
        if seen.pid is not None:
            causes.places[seen.pid].add(seen.event.bus_id)
        if seen.event.xid not in wanted:
            continue
        if is_application(seen.event.xid):
            causes.application[seen.event.bus_id, seen.pid].append(seen.at)
        else:
            causes.hardware[seen.event.bus_id].append(seen.at)
            if seen.event.xid != RETIREMENT:
                causes.grave[seen.event.bus_id].append(seen.at)
    for times in (*causes.hardware.values(), *causes.grave.values(), *causes.application.values()):
        times.sort()
    return causes


def split(group: Sequence[Seen], past: History) -> Split:
    """A process that dies on one GPU takes its channels on the others with it."""
    xid = group[0].event.xid
    within = float(xid_table().get(xid, {}).get("within", 120.0))
    causes = causes_of(xid, past, {s.event.previous for s in group if s.event.previous is not None})
    standing: list[Seen] = []
    following: list[Seen] = []
    elsewhere: set[str] = set()
    for seen in group:
        places = _places(seen, causes, within)
        (following if places else standing).append(seen)
        if places and seen.event.bus_id not in places:
            elsewhere |= places
    return Split(tuple(standing), tuple(following), frozenset(elsewhere))


def _places(seen: Seen, causes: Causes, within: float) -> set[str]:
    """The GPUs on which a cause of this event lies."""
    here = seen.event.bus_id
    reach = {here} if seen.pid is None else {here, *causes.places[seen.pid]}
    found = {bus for bus in reach if _happened(causes.hardware.get(bus), seen.at, within)}
    if seen.event.xid == PREEMPTIVE_REMOVAL:  # the other ranks of a job whose GPU failed are ended too
        found |= {bus for bus, times in causes.grave.items() if _happened(times, seen.at, within)}
    for bus in reach:
        pids = {pid for at_bus, pid in causes.application if at_bus == bus} if seen.pid is None else {seen.pid, None}
        if any(_happened(causes.application.get((bus, pid)), seen.at, within) for pid in pids):
            found.add(bus)
    return found


def _happened(times: Sequence[float] | None, at: float, within: float) -> bool:
    if not times:
        return False
    first = bisect_left(times, at - within)
    return first < len(times) and times[first] <= at + SLACK_SECONDS
