"""PCIe errors by the kernel's counters, which lose none: the log's lines are limited, and old ones overwritten."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.pci import Inventory
from gpudoctor.facts.pcie import PcieErrors, PcieLink
from gpudoctor.facts.sampling import Counted
from gpudoctor.finding import Confidence, Evidence, Finding, Severity
from gpudoctor_checks.bit_errors import allowed_per_minute, exceeds, rounded
from gpudoctor_checks.kernel.pcie_errors import CORRECTED_PER_MINUTE
from gpudoctor_checks.pcie.hops import concerned

OF_THE_LINK = ("RxErr", "BadTLP", "BadDLLP", "Rollover", "Timeout")  # the rest does not speak of the wire
REFUSED = ("UnsupReq", "UnxCmplt", "ACSViol")  # what probing a bus leaves behind too
RESET = ("SDES",)  # a link that goes down on purpose, as for a reset of the device below, counts as surprise


@check("PCIE_AER")
def aer_counted(errors: PcieErrors, inventory: Inventory, links: tuple[PcieLink, ...] | None) -> Iterator[Finding]:
    """More errors of the link than its bit error rate explains, or packets that were lost."""
    corrected = {name: held for name, held in errors.correctable.items() if name in OF_THE_LINK and held.count}
    nonfatal = {name: held for name, held in errors.nonfatal.items() if name not in REFUSED and held.count}
    fatal = {name: held for name, held in errors.fatal.items() if name not in RESET and held.count}
    allowed = _allowed(errors.bus_id, links or ())
    stormy = any(exceeds(held, allowed) for held in corrected.values())
    lost = bool(nonfatal or fatal)
    if not stormy and not lost:
        return
    now = any(held.since == "sample" for held in (*errors.correctable.values(), *errors.fatal.values()))
    seen = {"correctable": corrected, "nonfatal": nonfatal, "fatal": fatal}
    worst = max((held.per_minute for held in corrected.values()), default=0.0)
    yield Finding(
        errors.subject,
        severity=Severity.ERROR if now and lost and errors.subject.kind != "nic" else Severity.WARNING,
        confidence=Confidence.CERTAIN if now else Confidence.LIKELY,
        evidence=_lines(errors, seen),
        corrected=sum(held.count for held in corrected.values()),
        nonfatal=sum(held.count for held in nonfatal.values()),
        fatal=sum(held.count for held in fatal.values()),
        peak_per_minute=rounded(worst),
        threshold_per_minute=allowed,
        errors=", ".join([*corrected, *nonfatal, *fatal]),
        behind=concerned(errors.subject, inventory),
        action="reseat",
    )


def _allowed(bus_id: str, links: tuple[PcieLink, ...]) -> int:
    """Of the link that this device or port is an end of; the least known where no link is seen."""
    for link in links:
        if bus_id in (link.bus_id, link.get("upper_bus_id")):
            speed, width = link.get("speed_max_gts"), link.get("width_max")
            if speed and width:
                return allowed_per_minute(speed, width)
    return CORRECTED_PER_MINUTE


def _lines(errors: PcieErrors, seen: dict[str, dict[str, Counted]]) -> Iterator[Evidence]:
    for kind, counts in seen.items():
        if counts:
            yield Evidence(errors.source(kind), ", ".join(f"{name} {held}" for name, held in counts.items()))
