"""Counters: read once and weighed since boot, or twice, as far apart as the command asked."""

from __future__ import annotations

import time

from gpudoctor.collect.collector import collector
from gpudoctor.facts.sampling import Counted, Sampling
from gpudoctor.node.surface import Node


@collector
def sampling(node: Node) -> Sampling:
    return Sampling(seconds=node.sample_seconds)


def pause(node: Node, sampling: Sampling, began: float) -> None:
    """Wait for the second sample; `began`: time.monotonic() at the first. A recording answers at once."""
    if node.kind == "live":
        time.sleep(max(0.0, began + sampling.seconds - time.monotonic()))


def counted(first: int, second: int | None, sampling: Sampling, seconds_up: float) -> Counted:
    """The growth between two samples, or, with one, all since the machine (and so the counter) started."""
    if second is None:
        return Counted(first, seconds_up, "boot")
    return Counted(max(0, second - first), sampling.seconds, "sample")
