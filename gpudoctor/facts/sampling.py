"""How far apart a scan reads its counters twice, and what a counter then says."""

from __future__ import annotations

from typing import Literal

import msgspec

from gpudoctor.facts.fact import Fact, fact, source


@fact
class Sampling(Fact):
    seconds: float = source("--sample")  # 0: counters are read once


class Counted(msgspec.Struct, frozen=True):
    """What a counter grew by, and in which time: between two samples of this scan, or since it began to count."""

    count: int
    seconds: float
    since: Literal["sample", "boot"]

    @property
    def per_minute(self) -> float:
        return self.count * 60 / self.seconds if self.seconds > 0 else 0.0

    def __str__(self) -> str:
        over = f"{self.seconds:g} s" if self.since == "sample" else f"{self.seconds / 3600:.1f} h since boot"
        return f"{self.count} in {over}"
