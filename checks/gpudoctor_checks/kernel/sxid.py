"""SXids: faults of NVSwitches, one finding for each number and switch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gpudoctor.check import check
from gpudoctor.facts.kernel_log import KernelLog, Reset, SxidEvent
from gpudoctor.facts.pci import Inventory, pci_subject
from gpudoctor.finding import Confidence, Finding, Occurrence, Severity, Subject
from gpudoctor.knowledge import Row, family, table
from gpudoctor_checks.kernel.xid_action import BUCKETS

ACTIONS = {
    **BUCKETS,
    "RESTART_VM": "reboot",
    "SCOPE_DEPENDENT_RESET": "reset_fabric",
    "RESET_ALL_GPUS_AND_NVSWITCHES": "reset_fabric",
    "RESTART_HOST_OR_SBR": "reboot",
    "RESET_FABRIC": "reset_fabric",
}
HIGHEST = 999999


@check("SXID_*")
def sxids(log: KernelLog, inventory: Inventory) -> Iterator[Finding]:
    """The line's own word, Fatal or Non-fatal, decides; the table speaks where the line does not."""
    groups: dict[tuple[str, int], list[SxidEvent]] = defaultdict(list)
    loads = [reset for reset in log.resets if reset.how == "module loaded"]
    for event in log.sxids:
        if not _before_load(event, loads):
            groups[event.bus_id, event.sxid].append(event)
    lost = sorted({event.bus_id for event in log.xids if event.xid == 79})
    for (bus_id, sxid), group in groups.items():
        fatal, certain = _fatal(sxid, group)
        action = _action(sxid, fatal)
        yield Finding(
            _switch(inventory, bus_id, lost),
            code=f"SXID_{sxid}",
            severity=_severity(fatal, action),
            confidence=Confidence.CERTAIN if certain else Confidence.POSSIBLE,
            evidence=log.excerpt([event.record for event in group]),
            occurrences=[Occurrence(at) for at in _times(group)],
            sxid=sxid,
            name=_entry(sxid).get("name") or group[0].detail or "unknown",
            unit=_entry(sxid).get("unit", "unknown unit"),
            switch=group[0].switch,
            fatal=fatal,
            count=sum(event.fatal is not None for event in group) or len(group),
            links=tuple(sorted({event.link for event in group if event.link is not None})),
            first=group[0].record.time,
            last=group[-1].record.time,
            action=action,
        )


@family("SXID")
def sxid_row(code: str, written: Mapping[str, Row]) -> Row | None:
    number = code.removeprefix("SXID_")
    if not (number.isascii() and number.isdigit()) or not 0 < int(number) <= HIGHEST:
        return None
    entry = _entry(int(number))
    fatal = entry.get("severity", "non_fatal") != "non_fatal"
    words = {"name": str(entry.get("name", "unknown")), "unit": str(entry.get("unit", "NVSwitch"))}
    return written["SXID_*"].of_member({"sxid": number, **words}, severity="error" if fatal else "info")


def _entry(sxid: int) -> Mapping[str, Any]:
    known = table("gpudoctor_checks", "sxid")
    entry: Mapping[str, Any] = known["sxids"].get(sxid) or known["units"].get(sxid) or {}
    return entry


def _fatal(sxid: int, group: Sequence[SxidEvent]) -> tuple[bool, bool]:
    """Whether it is fatal, and whether somebody says so."""
    if said := [event.fatal for event in group if event.fatal is not None]:
        return any(said), True
    entry = _entry(sxid)
    if "severity" in entry and entry["severity"] != "unknown":
        return entry["severity"] != "non_fatal", not entry.get("low")
    return bool(entry.get("fatal")), False


def _action(sxid: int, fatal: bool) -> str:
    action = ACTIONS.get(str(_entry(sxid).get("action")), "unknown")
    if not fatal:
        return "none" if action in ("none", "reset_fabric", "reboot") else action
    return "reset_fabric" if action in ("none", "unknown") else action


def _severity(fatal: bool, action: str) -> Severity:
    if not fatal:
        return Severity.WARNING if action in ("check_mechanicals", "unknown") else Severity.INFO
    return Severity.CRITICAL if action == "reboot" else Severity.ERROR


def _switch(inventory: Inventory, bus_id: str, lost: Sequence[str]) -> Subject:
    """An NVSwitch, whose links end at GPUs: one that fell off the bus takes links down with it."""
    subject = inventory.subject(bus_id)
    if subject.kind != "nvswitch":
        subject = pci_subject(bus_id, "nvswitch", subject.within)
    return replace(subject, within=(*subject.within, *lost)) if lost else subject


def _before_load(event: SxidEvent, loads: Sequence[Reset]) -> bool:
    return any(load.record.line > event.record.line and _apart(load, event) for load in loads)


def _apart(load: Reset, event: SxidEvent) -> bool:
    return load.record.at is None or event.record.at is None or load.record.at - event.record.at > 10.0


def _times(group: Sequence[SxidEvent]) -> list[float]:
    times = [event.record.at if event.record.at is not None else float(event.record.line) for event in group]
    return list(dict.fromkeys(round(at, 1) for at in times))[:500]
