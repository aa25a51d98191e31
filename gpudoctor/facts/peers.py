"""Whether GPUs may read each other's memory directly."""

from __future__ import annotations

from typing import Literal

import msgspec

from gpudoctor.facts.fact import Fact, fact, source
from gpudoctor.finding import Subject

Status = Literal["ok", "chipset", "gpu", "topology", "disabled", "not_supported", "unknown"]


class PeerAccess(msgspec.Struct, frozen=True):
    first: Subject
    second: Subject
    read: Status  # peer reads over whatever way there is


@fact
class GpuPeers(Fact):
    pairs: tuple[PeerAccess, ...] = source("nvmlDeviceGetP2PStatus")


def pair_subject(first: Subject, second: Subject) -> Subject:
    """Two devices; a finding about either, or about a bridge on the way of either, is related."""
    within = dict.fromkeys((first.id, second.id, *first.within, *second.within))
    return Subject("pair", f"{first.id}+{second.id}", f"{first.label} and {second.label}", tuple(within))
