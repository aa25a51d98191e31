"""Packets that a GPU had to send again."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.pcie import GpuPcie
from gpudoctor.finding import Confidence, Finding
from gpudoctor.knowledge import table
from gpudoctor.unread import Gap, Unread
from gpudoctor_checks.bit_errors import allowed_per_minute, exceeds, rounded


@check("PCIE_REPLAYS")
def replays(pcie: GpuPcie) -> Iterator[Finding]:
    """More replays a minute than a link within the specification's error rate has."""
    if pcie.lacks("replays"):
        return
    if pcie.width <= 0:
        raise Unread(Gap.MALFORMED, pcie.source("width"), f"tells a width of {pcie.width}")
    allowed = allowed_per_minute(_speed(pcie.generation_possible), pcie.width)
    if exceeds(pcie.replays, allowed):
        yield Finding(
            pcie.subject,
            confidence=Confidence.CERTAIN if pcie.replays.since == "sample" else Confidence.LIKELY,
            evidence=pcie.seen("replays", "generation", "width"),
            replays=pcie.replays.count,
            over=str(pcie.replays),
            per_minute=rounded(pcie.replays.per_minute),
            threshold_per_minute=allowed,
        )


def _speed(generation: int) -> float:
    rows = table("gpudoctor_checks", "pcie")["generations"]
    return float(next((row["gt_per_s"] for row in rows if row["gen"] == generation), rows[-1]["gt_per_s"]))
