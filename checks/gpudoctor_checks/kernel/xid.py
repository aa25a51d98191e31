"""Xids: one finding for each number and GPU, application faults told from hardware, consequences from causes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from gpudoctor.check import check
from gpudoctor.facts.gpu_health import GpuRecovery
from gpudoctor.facts.kernel_log import KernelLog, MmuFault, Nvlink5Error, NvlinkRegisters, SmFault, XidEvent
from gpudoctor.facts.pci import Inventory, gpu_subject
from gpudoctor.finding import Evidence, Finding, Occurrence, Subject
from gpudoctor.knowledge import Row, family, table
from gpudoctor_checks.kernel.xid_action import Decision, by_bucket, decide
from gpudoctor_checks.kernel.xid_history import History, Seen, history, is_application, split, xid_table

OCCURRENCES = 500  # of a storm; more say nothing more about order
ECHOED = (48, 79, 95)  # faults of a peer that this GPU's NVLink reports as its own Xid 74
HIGHEST = 99999


@check("XID_*")
def xids(log: KernelLog, inventory: Inventory, recoveries: tuple[GpuRecovery, ...] | None) -> Iterator[Finding]:
    """Consequences among the events are left out where others of the same Xid stand on their own."""
    if not log.xids:
        return
    past = history(log, recoveries)
    for (bus_id, xid), group in past.by_code.items():
        parts = split(group, past)
        shown = parts.standing or parts.following
        decision = decide(shown, past, log.get("driver_version"))
        subject = _reaching(gpu_of(inventory, bus_id), xid, parts.elsewhere, past, log)
        yield Finding(
            subject,
            code=f"XID_{xid}",
            severity=decision.severity,
            confidence=decision.confidence,
            evidence=evidence(shown, log),
            occurrences=occurrences(shown),
            **_values(shown, decision, len(group) - len(shown)),
        )


@family("XID")
def xid_row(code: str, written: Mapping[str, Row]) -> Row | None:
    number = code.removeprefix("XID_")
    if not (number.isascii() and number.isdigit()) or not 0 < int(number) <= HIGHEST:
        return None
    entry, base = xid_table().get(int(number), {}), written["XID_*"]
    usual = by_bucket(entry) if entry else None
    if why := table("gpudoctor_checks", "xid")["why"].get(int(number)):
        base = msgspec.structs.replace(base, why=why)
    return base.of_member(
        {"xid": number, "name": entry.get("name", "unknown"), "means": _meaning(entry)},
        severity=str(usual.severity) if usual else base.severity,
        fix=base.fixes({"action": usual.action}) if usual else base.fix,
        explained_by=tuple(f"XID_{cause}" for cause in entry.get("follows", ())),
        explained_within_seconds=float(entry.get("within", base.explained_within_seconds)),
    )


def gpu_of(inventory: Inventory, bus_id: str) -> Subject:
    """The driver says Xid only of GPUs, also where the bus no longer shows the device."""
    subject = inventory.subject(bus_id)
    return subject if subject.kind == "gpu" else gpu_subject(bus_id, None, subject.within)


def evidence(group: Sequence[Seen], log: KernelLog) -> tuple[Evidence, ...]:
    return log.excerpt([seen.event.record for seen in group])


def occurrences(group: Sequence[Seen]) -> list[Occurrence]:
    made = dict.fromkeys((round(s.at, 1), _actor(s)) for s in group)
    kept = list(made) if len(made) <= OCCURRENCES else [*list(made)[: OCCURRENCES - 1], list(made)[-1]]
    return [Occurrence(at, actor) for at, actor in kept]


def _actor(seen: Seen) -> str | None:
    return str(seen.pid) if seen.pid is not None and is_application(seen.event.xid) else None


def _reaching(subject: Subject, xid: int, elsewhere: frozenset[str], past: History, log: KernelLog) -> Subject:
    """The subject with what its links end at, where the fault may lie there."""
    beyond = set(elsewhere)
    if xid == 74:
        beyond |= {event.bus_id for event in log.sxids}
        beyond |= {bus_id for bus_id, other in past.by_code if other in ECHOED}
    beyond -= {subject.id}
    return replace(subject, within=(*subject.within, *sorted(beyond))) if beyond else subject


def _values(group: Sequence[Seen], decision: Decision, folded: int) -> dict[str, Any]:
    first, last = group[0], group[-1]
    entry = xid_table().get(first.event.xid, {})
    processes = tuple(dict.fromkeys(_process(s) for s in group if s.pid is not None or s.process))
    values: dict[str, Any] = {
        "xid": first.event.xid,
        "name": entry.get("name", "unknown"),
        "means": _meaning(entry),
        "count": len(group),
        "first": first.event.record.time,
        "last": last.event.record.time,
        "rate": _rate(group),
        "processes": processes[:20],
        "process": _named(processes),
        "mig": tuple(dict.fromkeys(s.event.mig for s in group if s.event.mig)),
        "action": decision.action,
        "action_by": decision.by,
        "decoded": ", ".join(decision.decoded) or None,
        "detail": first.event.detail[:300],
        "consequences": folded,
    }
    return {**values, **_specifics([s.event for s in group])}


def _specifics(events: Sequence[XidEvent]) -> dict[str, Any]:
    """What the lines of this Xid tell beyond its number."""
    said = [e.says for e in events]
    values: dict[str, Any] = {}
    if sms := list(dict.fromkeys(s for s in said if isinstance(s, SmFault))):
        values["sms"] = tuple(f"GPC {s.gpc}, TPC {s.tpc}, SM {s.sm}" for s in sms[:20])
        values["exceptions"] = tuple(dict.fromkeys(s.what for s in sms if s.what))
    if faults := [s for s in said if isinstance(s, MmuFault)]:
        values |= {"engine": faults[0].engine, "fault": faults[0].fault, "access": faults[0].access}
        values["address"] = None if faults[0].address is None else f"{faults[0].address:#x}"
    if links := [s.link for s in said if isinstance(s, (NvlinkRegisters, Nvlink5Error)) and s.link is not None]:
        values["links"] = tuple(sorted(set(links)))
    return values


def _meaning(entry: Mapping[str, Any]) -> str:
    return str(entry.get("means", "a number that no published table explains"))


def _process(seen: Seen) -> str:
    if seen.pid is None:
        return str(seen.process)
    return f"{seen.process} (pid {seen.pid})" if seen.process else f"pid {seen.pid}"


def _named(processes: Sequence[str]) -> str:
    if not processes:
        return "a process that the driver does not name"
    return processes[0] if len(processes) == 1 else f"{processes[0]} and {len(processes) - 1} more"


def _rate(group: Sequence[Seen]) -> str | None:
    """None where the log has no times."""
    if len(group) < 2 or group[0].event.record.at is None:
        return None
    span = group[-1].at - group[0].at
    return f"{len(group)} lines within {span:.0f} s" if span < 600 else f"{len(group) / span * 3600:.2g} lines an hour"
