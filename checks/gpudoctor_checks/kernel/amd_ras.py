"""Uncorrectable errors that amdgpu has counted since it was loaded."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.amd import AmdRas
from gpudoctor.finding import Evidence, Finding
from gpudoctor.unread import Gap, Unread


@check("AMDGPU_RAS")
def uncorrectable_counted(ras: AmdRas) -> Iterator[Finding]:
    """A block's counter of uncorrectable errors is above zero."""
    if ras.get("suspended"):
        raise Unread(Gap.UNSUPPORTED, ras.source("counts"), "the GPU sleeps, and its counters are not reliable then")
    bad = [count for count in ras.counts if count.uncorrectable]
    if bad:
        where = ras.source("counts").removesuffix("*_err_count")
        yield Finding(
            ras.subject,
            evidence=[
                Evidence(f"{where}{c.block}_err_count", f"ue: {c.uncorrectable}, ce: {c.correctable}") for c in bad
            ],
            errors=sum(count.uncorrectable for count in bad),
            block=", ".join(count.block for count in bad),
        )
