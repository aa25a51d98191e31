"""Counters: read once and weighed since boot, or twice, as far apart as the command asked."""

from __future__ import annotations

import time

from gpudoctor.collect.collector import collector
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.sampling import Counted, Sampling
from gpudoctor.node.surface import Node
from gpudoctor.unread import Reading, Unread


@collector
def sampling(node: Node) -> Sampling:
    return Sampling(seconds=node.sample_seconds)


def pause(node: Node, seconds: float, began: float) -> None:
    """Wait for the second sample; `began`: time.monotonic() at the first. A recording answers at once."""
    if node.kind == "live":
        time.sleep(max(0.0, began + seconds - time.monotonic()))


def counted(first: Reading[int], second: Reading[int] | None, sampling: Sampling, machine: Machine) -> Reading[Counted]:
    """The growth between two samples, or, with one, all since the machine (and so the counter) started."""
    if isinstance(first, Unread):
        return first
    if second is not None:
        return second if isinstance(second, Unread) else Counted(max(0, second - first), sampling.seconds, "sample")
    booted = machine.reading("booted")
    return booted if isinstance(booted, Unread) else Counted(first, machine.now - booted, "boot")
