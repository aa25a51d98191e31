"""What a PyTorch memory snapshot holds, in compact form: segments as they are now, and what happened before.

torch.cuda.memory._snapshot(), torch/csrc/cuda/memory_snapshot.cpp. Traces are columns: a GB-sized file has tens
of millions of events.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from enum import IntEnum
from typing import Literal

import msgspec

from gpudoctor.allocator.settings import Settings

PoolId = tuple[int, int]
DEFAULT_POOL: PoolId = (0, 0)
NO_STACK = -1

State = Literal["allocated", "pending_free", "free"]


class Action(IntEnum):
    ALLOC = 0
    FREE_REQUESTED = 1
    FREE_COMPLETED = 2
    SEGMENT_ALLOC = 3
    SEGMENT_FREE = 4
    SEGMENT_MAP = 5
    SEGMENT_UNMAP = 6
    SNAPSHOT = 7
    OOM = 8
    OTHER = 9  # annotate, and whatever a newer torch adds


class InvalidSnapshot(ValueError):
    """No memory snapshot, or a damaged or hostile one. The message is one sentence, to follow the file's name."""


class Frame(msgspec.Struct, frozen=True, cache_hash=True):
    name: str
    filename: str
    line: int

    def __str__(self) -> str:
        return f"{self.name} at {self.filename}:{self.line}" if self.filename else self.name


Stack = tuple[Frame, ...]  # innermost first


class SnapshotBlock(msgspec.Struct, frozen=True):
    address: int
    size: int  # bytes, rounded
    requested: int  # bytes; stale where the block is free
    state: State
    stack: int  # index of Snapshot.stacks, or NO_STACK


class Segment(msgspec.Struct, frozen=True):
    """One cudaMalloc, or one contiguous mapped range of an expandable segment."""

    address: int
    size: int
    stream: int
    is_small: bool
    is_expandable: bool
    pool: PoolId
    blocks: tuple[SnapshotBlock, ...]
    stack: int = NO_STACK

    @property
    def allocated(self) -> int:
        return sum(block.size for block in self.blocks if block.state != "free")


class Trace(msgspec.Struct):
    """The events of one device, oldest first, as columns of equal length."""

    actions: bytearray = msgspec.field(default_factory=bytearray)
    addresses: array[int] = msgspec.field(default_factory=lambda: array("Q"))  # OOM: bytes free on the device
    sizes: array[int] = msgspec.field(default_factory=lambda: array("q"))  # bytes, as requested
    streams: array[int] = msgspec.field(default_factory=lambda: array("Q"))
    times_us: array[int] = msgspec.field(default_factory=lambda: array("q"))  # 0: this torch records none
    stacks: array[int] = msgspec.field(default_factory=lambda: array("i"))  # index of Snapshot.stacks
    pools: array[int] | None = None  # index of Snapshot.pools; None: this torch does not record them

    def __len__(self) -> int:
        return len(self.actions)

    def places(self, action: Action) -> Iterator[int]:
        """Where events of one kind are."""
        place = self.actions.find(action)
        while place >= 0:
            yield place
            place = self.actions.find(action, place + 1)


class Device(msgspec.Struct):
    index: int
    segments: tuple[Segment, ...]
    trace: Trace

    @property
    def reserved(self) -> int:
        return sum(segment.size for segment in self.segments)


class Snapshot(msgspec.Struct):
    devices: tuple[Device, ...]  # those with segments or events
    device_count: int  # of the process that wrote it
    stacks: list[Stack]
    pools: list[PoolId]
    settings: Settings
    settings_text: str  # PYTORCH_CUDA_ALLOC_CONF as it was
    torch_era: str  # what its keys tell of the version: "2.1 to 2.4", "2.11"; "" where nothing does
    annotations: tuple[tuple[str, int, int], ...] = ()  # name, device, time_us
    notes: tuple[str, ...] = ()  # what is missing from it, a sentence each
