"""CPUs and NUMA nodes as taskset and numactl take them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby


def cpu_list(numbers: Iterable[int]) -> str:
    """`0-15,32-47`; `none` where there are none."""
    runs = groupby(enumerate(sorted(set(numbers))), key=lambda placed: placed[1] - placed[0])
    ends = [[number for _, number in run] for _, run in runs]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in ends) or "none"
