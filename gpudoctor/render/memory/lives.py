"""The life of every block in a trace: where it lay, how big it was, from which event to which."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable

import msgspec

from gpudoctor.allocator.snapshot import Action
from gpudoctor.allocator.state import History

# what a step is, in the page
ALLOC, FREE, LET_GO, FREED, MADE, GIVEN_BACK, MAPPED, UNMAPPED, FAILED = range(9)
# FREE: freed, and usable at once. LET_GO: freed while another stream may still use it; FREED: that stream is done.
_STEP = {
    int(Action.SEGMENT_ALLOC): MADE,
    int(Action.SEGMENT_FREE): GIVEN_BACK,
    int(Action.SEGMENT_MAP): MAPPED,
    int(Action.SEGMENT_UNMAP): UNMAPPED,
    int(Action.OOM): FAILED,
}


class Lives(msgspec.Struct):
    """Blocks in the order of their allocation; steps in the order of the trace."""

    present: int = 0  # so many blocks were there before the first event
    waiting: list[int] = []  # of those: freed already, while another stream may still use them
    addresses: array[int] = msgspec.field(default_factory=lambda: array("Q"))
    requested: array[int] = msgspec.field(default_factory=lambda: array("q"))
    sizes: array[int] = msgspec.field(default_factory=lambda: array("q"))  # rounded, with a rest that was not split off
    stacks: array[int] = msgspec.field(default_factory=lambda: array("i"))
    kinds: bytearray = msgspec.field(default_factory=bytearray)  # of steps
    places: array[int] = msgspec.field(default_factory=lambda: array("q"))
    blocks: array[int] = msgspec.field(default_factory=lambda: array("i"))  # of ALLOC, FREE, LET_GO, FREED; else -1

    def step(self, kind: int, place: int, block: int = -1) -> None:
        self.kinds.append(kind)
        self.places.append(place)
        self.blocks.append(block)

    def block(self, address: int, requested: int, size: int, stack: int) -> int:
        self.addresses.append(address)
        self.requested.append(max(0, requested))  # a damaged file may hold anything
        self.sizes.append(max(0, size))
        self.stacks.append(stack)
        return len(self.addresses) - 1


def lives_of(history: History) -> Lives:
    lives, trace, present = Lives(), history.trace, history.present
    open_blocks = {held.address: lives.block(held.address, held.requested, held.size, held.stack) for held in present}
    lives.present = len(present)
    lives.waiting = [number for number, held in enumerate(present) if held.pending]
    addresses, sizes, stacks = trace.addresses, trace.sizes, trace.stacks
    for place, action in enumerate(trace.actions):
        address = addresses[place]
        if action == Action.ALLOC:
            if (lost := open_blocks.pop(address, None)) is not None:
                lives.step(FREED, place, lost)
            block = open_blocks[address] = lives.block(address, sizes[place], history.size_at(place), stacks[place])
            lives.step(ALLOC, place, block)
        elif action == Action.FREE_REQUESTED:
            if (freed := open_blocks.get(address)) is not None:
                lives.step(LET_GO, place, freed)
        elif action == Action.FREE_COMPLETED:
            if (freed := open_blocks.pop(address, None)) is None:
                continue
            if lives.kinds and lives.kinds[-1] == LET_GO and lives.blocks[-1] == freed:
                lives.kinds[-1] = FREE
            else:
                lives.step(FREED, place, freed)
        elif action in _STEP:
            lives.step(_STEP[action], place)
    return lives


def without_short_lives(lives: Lives, most: int, kept_at: Iterable[int]) -> tuple[Lives, int]:
    """At most so many steps: blocks that lived for the fewest events go, but never one alive at a moment that matters.

    With them, for how many events the longest that was left out lived; 0: none was.
    """
    if len(lives.kinds) <= most:
        return lives, 0
    born, gone = array("q", [-1]) * len(lives.addresses), array("q", [1 << 62]) * len(lives.addresses)
    for kind, place, block in zip(lives.kinds, lives.places, lives.blocks, strict=True):
        if kind == ALLOC:
            born[block] = place
        elif kind in (FREE, FREED):
            gone[block] = place
    moments = sorted(kept_at)
    ages = array("q", bytes(8 * len(born)))
    for block, (start, end) in enumerate(zip(born, gone, strict=True)):
        seen = bisect_right(moments, start) < bisect_right(moments, end)
        ages[block] = 1 << 62 if start < 0 or seen else end - start
    shortest = 1
    while _steps_of(lives, ages, shortest) > most and shortest <= lives.places[-1]:
        shortest *= 2
    return _kept(lives, ages, shortest), shortest


def _steps_of(lives: Lives, ages: array[int], shortest: int) -> int:
    return sum(block < 0 or ages[block] >= shortest for block in lives.blocks)


def _kept(lives: Lives, ages: array[int], shortest: int) -> Lives:
    thin = Lives(present=lives.present, waiting=lives.waiting)
    numbers = array("i", [-1]) * len(ages)
    for block, age in enumerate(ages):
        if age >= shortest:
            numbers[block] = thin.block(
                lives.addresses[block], lives.requested[block], lives.sizes[block], lives.stacks[block]
            )
    for kind, place, block in zip(lives.kinds, lives.places, lives.blocks, strict=True):
        if block < 0 or numbers[block] >= 0:
            thin.step(kind, place, numbers[block] if block >= 0 else -1)
    return thin
