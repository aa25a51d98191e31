"""What a memory snapshot tells of one device, as far as checks judge it. Sizes are bytes."""

from __future__ import annotations

import msgspec

from gpudoctor.facts.fact import SubjectFact, fact, source
from gpudoctor.finding import Subject


class Alternative(msgspec.Struct, frozen=True):
    """The same requests under other settings."""

    settings: str
    fits: bool
    certain: bool
    reserved_peak_bytes: int
    device_allocs: int
    is_recorded: bool = False  # the settings that the program ran with


class GrowingStack(msgspec.Struct, frozen=True):
    where: str
    first_bytes: int
    last_bytes: int
    steps: int  # of ten equal parts of the record, how many grew over the one before


class PinningStack(msgspec.Struct, frozen=True):
    where: str
    unusable_bytes: int
    segments: int


@fact
class AllocatorSnapshot(SubjectFact):
    """The subject is the snapshot's device: Subject("gpu", "NAME#0", "device 0 of NAME")."""

    subject: Subject
    failed_bytes: int | None = source("device_traces oom")  # of the request that failed, rounded; None: none did
    wanted_bytes: int = source("device_traces oom")  # the segment that it needed
    allocated_bytes: int = source("segments")  # at the failure, else at the peak
    reserved_bytes: int = source("segments")
    largest_hole_bytes: int = source("segments")
    live_peak_bytes: int = source("device_traces")
    device_free_bytes: int = source("device_traces oom")  # unread where nothing failed
    outside_bytes: int = source("device_traces oom")  # in use on the device, not by this allocator
    room_bytes: tuple[int, int] = source(
        "device_traces"
    )  # least and most that could be reserved; unread: none was seen
    alternatives: tuple[Alternative, ...] = source("replay")
    trusted: bool = source("replay")  # the recorded settings, replayed, give what was recorded
    growing: tuple[GrowingStack, ...] = source("device_traces")
    pinning: tuple[PinningStack, ...] = source("segments")
    is_capped: bool = source("device_traces oom", False)  # refused although the device had enough: a memory fraction
    outside_is_least: bool = source("device_traces oom", False)  # it may be more: the GPU's size is not known
    private_free_bytes: int = source("segments", 0)  # free in pools of CUDA graphs and of torch.cuda.MemPool
    kept_settings: str = source("allocator_settings", "")  # recorded settings that stay beside any other
    reasons: tuple[str, ...] = source("replay", ())  # why the replay is not trusted
    oldest_torch: tuple[tuple[int, int], ...] = source("the snapshot's keys", ())  # none: unknown
    packages: tuple[str, ...] = source("device_traces frames", ())  # installed packages in the stacks
    has_stacks: bool = source("device_traces frames", False)
    cap_bytes: int | None = source("--cap", None)  # the limit that the reader asked about, in place of the recorded one
