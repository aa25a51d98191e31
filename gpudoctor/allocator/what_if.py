"""What other settings would have done: each is replayed once, the foremost as often as chance can turn the outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from gpudoctor.allocator.candidates import price
from gpudoctor.allocator.explanation import WhatIf
from gpudoctor.allocator.replay import NEAR, Outcome, Run, likely_run
from gpudoctor.allocator.replay import what_if as replayed
from gpudoctor.allocator.requests import Requests
from gpudoctor.allocator.settings import UNLIMITED, Settings

ENOUGH = 1_500_000  # requests replayed to make sure: then only the foremost still are
FOREMOST = 3
ONCE = "replayed once, because the record is long: name the settings with --what-if to make sure"

Named = tuple[str, Settings]  # the text as given
Progress = Callable[[int, int], None]  # done, of how many


class Limit(msgspec.Struct, frozen=True):
    """What a replay may reserve: what the device has, or what a memory fraction allows."""

    capacity: int = UNLIMITED
    fraction: int | None = None

    @property
    def bytes(self) -> int:
        return self.capacity if self.fraction is None else self.fraction


def limits_of(room: tuple[int, int] | None, *, is_capped: bool) -> tuple[Limit, ...]:
    """The least and the most that could be reserved; one where they are the same, or nothing was refused."""
    if room is None:
        return (Limit(),)
    return tuple(Limit(fraction=size) if is_capped else Limit(capacity=size) for size in sorted(set(room)))


class Replays:
    """The same requests under one settings after the other; what was replayed is kept."""

    def __init__(
        self,
        requests: Requests,
        limits: Sequence[Limit],
        *,
        cap: int | None,
        stop: bool,
        progress: Progress | None = None,
    ) -> None:
        """`cap`: what WhatIf says of the limit."""
        self._requests = requests
        self._limits = limits
        self._cap = cap
        self._stop = stop
        self._progress = progress
        self._first: dict[Settings, Run] = {}
        self._sure: dict[Settings, Outcome] = {}
        self._made_sure = 0  # requests that were replayed for that

    def all_sure(self, named: Sequence[Named]) -> list[WhatIf]:
        """All as often as it takes."""
        return self._tried(named, self.sure)

    def foremost_sure(self, named: Sequence[Named], *, enough: int = ENOUGH) -> list[WhatIf]:
        """All once; then the recorded settings, which stand last, and the best ones as often as it takes.

        Until `enough` requests were replayed for that; then only until one that fits for certain is among the first
        few.
        """
        *others, recorded = self._tried(named, self.once)
        self.sure(recorded.parsed)
        is_found = False
        for number, each in enumerate(sorted(others, key=lambda each: (not each.outcome.fits, price(each)))):
            needed = each.outcome.fits and number < FOREMOST and not is_found
            if self._made_sure > enough and not needed:
                break
            outcome = self.sure(each.parsed)
            is_found |= outcome.fits and outcome.certain
        return [
            msgspec.structs.replace(each, outcome=self._sure.get(each.parsed, each.outcome))
            for each in (*others, recorded)
        ]

    def _tried(self, named: Sequence[Named], outcome_of: Callable[[Settings], Outcome]) -> list[WhatIf]:
        made = []
        for number, (text, settings) in enumerate(named):
            if self._progress is not None:
                self._progress(number, len(named))
            made.append(WhatIf(text, settings, self._cap, outcome_of(settings)))
        return made

    def once(self, settings: Settings) -> Outcome:
        """One replay under the least room: certain where nothing comes near the limit."""
        run, room = self._likely(settings), self._limits[0].bytes
        is_far = not run.ooms and not run.retries and run.reserved_peak < NEAR * room
        return Outcome(run, run.reserved_peak, run.reserved_peak, is_far, "" if is_far else ONCE)

    def sure(self, settings: Settings) -> Outcome:
        """Under the least room that there may have been; where that decides, under the most too."""
        if settings not in self._sure:
            low = self._under(settings, self._limits[0], self._likely(settings))
            whole = len(self._limits) == 1 or (low.fits and low.certain and not low.run.retries)
            self._sure[settings] = low if whole else self._both(low, self._under(settings, self._limits[-1]))
        return self._sure[settings]

    def _likely(self, settings: Settings) -> Run:
        if settings not in self._first:
            limit = self._limits[0]
            self._first[settings] = likely_run(
                self._requests, settings, capacity=limit.capacity, limit=limit.fraction, stop=self._stop
            )
        return self._first[settings]

    def _under(self, settings: Settings, limit: Limit, likely: Run | None = None) -> Outcome:
        capacity, fraction = limit.capacity, limit.fraction
        outcome = replayed(self._requests, settings, capacity=capacity, limit=fraction, stop=self._stop, likely=likely)
        self._made_sure += (outcome.runs - (likely is not None)) * outcome.run.ended
        return outcome

    def _both(self, low: Outcome, high: Outcome) -> Outcome:
        doubt = low.doubt or high.doubt
        if low.fits != high.fits:
            least, most = (f"{limit.bytes / 2**30:.2f}" for limit in (self._limits[0], self._limits[-1]))
            doubt = (
                "it depends on how much could be reserved, and the record only tells that it was between "
                f"{least} and {most} GiB"
            )
        return Outcome(
            low.run,
            min(low.reserved_low, high.reserved_low),
            max(low.reserved_high, high.reserved_high),
            low.certain and high.certain and low.fits == high.fits,
            doubt,
            low.runs + high.runs,
        )
