"""How many errors a healthy PCIe link may have: the specification allows one wrong bit in 10**12.

DCGM reckons its limit for replays so since 3.3.8; before it was 8 a minute for every link.
https://github.com/NVIDIA/DCGM/blob/master/modules/health/DcgmHealthWatch.cpp
"""

from __future__ import annotations

import math

from gpudoctor.facts.sampling import Counted

LEAST = 5  # of fewer in a short sample nothing follows


def allowed_per_minute(speed_gts: float, width: int) -> int:
    return math.ceil(speed_gts * width * 60 / 1000)


def rounded(rate: float) -> float:
    return round(rate) if rate >= 10 else round(rate, 1)


def exceeds(counted: Counted, per_minute: float) -> bool:
    """More than that rate explains; of few counts, by more than chance does."""
    if counted.seconds <= 0:  # the clock was set back behind the start
        return False
    expected = per_minute * counted.seconds / 60
    return counted.count >= max(LEAST, expected + 3 * math.sqrt(expected))
