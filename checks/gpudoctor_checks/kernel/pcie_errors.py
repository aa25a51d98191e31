"""PCIe errors, containment and link loss that concern a GPU, its path or a NIC."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from gpudoctor.check import check
from gpudoctor.facts.kernel_events import AerEvent, KernelEvents, LinkEvent
from gpudoctor.facts.kernel_log import KernelRecord
from gpudoctor.facts.pci import Inventory
from gpudoctor.finding import Confidence, Finding, Occurrence, Severity, Subject
from gpudoctor_checks.kernel.attribution import Owner, owner

CORRECTED_PER_MINUTE = 8  # DCGM before 3.3.8 called more PCIe replays a minute than this a fault (see the row)


@check("PCIE_AER")
def aer(events: KernelEvents, inventory: Inventory) -> Iterator[Finding]:
    """Errors that a PCIe device or its port detected, weighed by kind and rate."""
    held: dict[str, tuple[Owner, list[AerEvent]]] = {}
    for event in events.aer:
        whose = owner(event.bus_id, inventory, events, event.driver, event.vendor_id)
        if whose is not None:
            held.setdefault(whose.subject.id, (whose, []))[1].append(event)
    for whose, own in held.values():
        severity, certain = _weight(own)
        if not whose.sure or whose.subject.kind == "nic":
            severity = min(severity, Severity.WARNING)
        elif works_now(whose.subject, inventory):
            severity = min(severity, Severity.ERROR)
        kinds = Counter(event.severity for event in own)
        yield Finding(
            whose.subject,
            severity=severity,
            confidence=Confidence.CERTAIN if whose.sure and certain else Confidence.POSSIBLE,
            evidence=events.evidence(tuple(event.record for event in own)),
            occurrences=occurrences(event.record for event in own),
            corrected=kinds["corrected"],
            nonfatal=kinds["nonfatal"],
            fatal=kinds["fatal"],
            peak_per_minute=peak_per_minute([e.record for e in own if e.severity == "corrected"]),
            threshold_per_minute=CORRECTED_PER_MINUTE,
            errors=", ".join(dict.fromkeys(name for event in own for name in event.errors)) or "not named",
            behind=", ".join(gpu.label for gpu in inventory.gpus_behind(whose.subject.id)) or whose.subject.label,
            action="reseat" if kinds["nonfatal"] + kinds["fatal"] or severity > Severity.INFO else "watch",
        )


def _weight(events: Sequence[AerEvent]) -> tuple[Severity, bool]:
    """How grave, and whether the log's times allow to say so."""
    for event in events:
        if event.severity == "fatal" and not event.recovered:
            return Severity.CRITICAL, True
    grave = [event for event in events if event.severity != "corrected"]
    if any(event.severity == "fatal" or not event.recovered for event in grave):
        return Severity.ERROR, True
    records = [event.record for event in events]
    rate = peak_per_minute(records)
    if rate is None:
        return (Severity.WARNING if len(records) > CORRECTED_PER_MINUTE or grave else Severity.INFO), False
    return (Severity.WARNING if rate > CORRECTED_PER_MINUTE or grave else Severity.INFO), True


@check("PCIE_DPC")
def contained(events: KernelEvents, inventory: Inventory) -> Iterator[Finding]:
    """A port cut off what is behind it to stop an error from spreading."""
    yield from _lost(events, inventory, ("contained",))


@check("PCIE_LINK_DOWN")
def link_down(events: KernelEvents, inventory: Inventory) -> Iterator[Finding]:
    """A port lost the device behind it."""
    yield from _lost(events, inventory, ("link down", "card not present"))


def _lost(events: KernelEvents, inventory: Inventory, whats: tuple[str, ...]) -> Iterator[Finding]:
    ports: dict[str, list[LinkEvent]] = defaultdict(list)
    for event in events.links:
        ports[event.bus_id].append(event)
    for bus_id, own in ports.items():
        bad = [event for event in own if event.what in whats]
        whose = owner(bus_id, inventory, events, "pcieport") if bad else None
        if whose is None:
            continue
        back = own[-1].what == "link up" or works_now(whose.subject, inventory)
        grave = Severity.ERROR if back else Severity.CRITICAL
        gpus = inventory.gpus_behind(bus_id)
        yield Finding(
            whose.subject,
            severity=grave if whose.sure else Severity.WARNING,
            confidence=Confidence.CERTAIN if whose.sure else Confidence.POSSIBLE,
            evidence=events.evidence(tuple(event.record for event in bad)),
            occurrences=occurrences(event.record for event in bad),
            count=len(bad),
            reason=next((event.reason for event in bad if event.reason), "not named"),
            back=back,
            behind=", ".join(gpu.label for gpu in gpus) or "no device that is still on the bus",
        )


def works_now(subject: Subject, inventory: Inventory) -> bool:
    """NVML lists this GPU, or every GPU behind this bridge; a log that somebody sent does not tell."""
    listed = inventory.get("gpu_indices", {})
    gpus = [gpu.id for gpu in inventory.gpus_behind(subject.id)] or [subject.id]
    return all(bus_id in listed for bus_id in gpus)


def occurrences(records: Iterable[KernelRecord]) -> list[Occurrence]:
    """One a second at most: a storm of thousands says no more."""
    return [Occurrence(float(at)) for at in dict.fromkeys(int(r.at) for r in records if r.at is not None)]


def peak_per_minute(records: Sequence[KernelRecord]) -> int | None:
    """The most in any minute; None where the log has no times."""
    times = sorted(r.at for r in records if r.at is not None)
    if len(times) < len(records):
        return None
    start = peak = 0
    for end, at in enumerate(times):
        while at - times[start] > 60:
            start += 1
        peak = max(peak, end - start + 1)
    return peak
