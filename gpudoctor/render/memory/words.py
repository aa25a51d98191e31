"""What is said of memory in a few words; the same on the terminal and in the page."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from gpudoctor.allocator.candidates import cheapest, kept_settings, versions
from gpudoctor.allocator.explanation import Explanation, Moment, WhatIf
from gpudoctor.allocator.fidelity import Fidelity
from gpudoctor.allocator.settings import Settings
from gpudoctor.render.story import counted
from gpudoctor.report import Report

NO_STACK = "no stack was recorded"
NAMES = {"peak": "At the peak of allocated memory", "out of memory": "When memory ran out", "end": "At the end"}


def size(count: int) -> str:
    """Three or four digits: `6.60 GiB`, `512 MiB`, `20.5 MiB`, `1.50 KiB`."""
    sign, count = ("-", -count) if count < 0 else ("", count)
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << shift:
            amount = count / (1 << shift)
            if amount == int(amount):
                return f"{sign}{amount:.0f} {unit}"
            digits = 2 if amount < 9.995 else 1 if amount < 99.95 else 0
            return f"{sign}{amount:.{digits}f} {unit}"
    return f"{sign}{count} B"


def thousands(number: int) -> str:
    return f"{number:,}"


def duration(microseconds: int) -> str:
    seconds = microseconds / 1e6
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def moment_words(moment: Moment, explanation: Explanation) -> str:
    """`event 4,012 of 9,001, after 12.3 s`"""
    if not explanation.events:
        return ""
    words = f"event {thousands(min(moment.place + 1, explanation.events))} of {thousands(explanation.events)}"
    line = explanation.timeline
    at = next((line.times_us[i] for i, place in enumerate(line.places) if place >= moment.place), None)
    has_times = line.times_us != line.places
    return f"{words}, after {duration(at)}" if has_times and at is not None else words


def stack_words(explanation: Explanation, stack: int) -> str:
    return explanation.stacks[stack] if 0 <= stack < len(explanation.stacks) else NO_STACK


def settings_words(text: str) -> str:
    return text or "default settings"


def limits(explanation: Explanation) -> tuple[int, int] | None:
    """The least and most that the replays could reserve."""
    return explanation.room if explanation.cap is None else (explanation.cap, explanation.cap)


def limit_words(explanation: Explanation) -> str:
    held = limits(explanation)
    return f"within {between(*held)}" if held else "without a limit"


def none_fits(explanation: Explanation) -> str:
    held = limits(explanation)
    if held and explanation.live_peak > held[1]:
        return f"{size(explanation.live_peak)} are alive at once: no settings make them fit into {size(held[1])}."
    return "None of these settings serves all requests."


def between(low: int, high: int) -> str:
    """`5.10 GiB`, `5.10 to 5.32 GiB`, `980 MiB to 1.20 GiB`"""
    one, other = size(low), size(high)
    if one == other:
        return one
    amount, unit = one.split()
    return f"{amount} to {other}" if other.endswith(unit) else f"{one} to {other}"


class Verdict(msgspec.Struct, frozen=True):
    """What settings would have done, in a word and the reason beside it."""

    glyph: str  # name of the screen's glyph
    word: str
    why: str


def verdict(what: WhatIf) -> Verdict:
    outcome, run = what.outcome, what.outcome.run
    if not outcome.certain:
        return Verdict("unknown", "may fit" if outcome.fits else "may fail", outcome.doubt)
    if outcome.fits:
        return Verdict("ok", "fits", "")
    where = (
        f"at allocation {thousands(run.first_oom + 1)}, {size(run.first_oom_bytes)}"
        if run.first_oom is not None
        else ""
    )
    times = f"{counted(run.ooms, 'failure')}, the first " if run.ooms > 1 else ""
    return Verdict("error", "fails", f"{times}{where}")


def fidelity_words(fidelity: Fidelity) -> str:
    """What the replay of the recorded settings gave, beside what was recorded."""
    if not fidelity.recorded_segments:
        return "no segment was made while events were recorded, so there is nothing to compare the replay with"
    off = f"off by {fidelity.peak_error:.1%}" if fidelity.peak_error >= 0.0005 else "exact"
    segments = f"{thousands(fidelity.same_segments)} of {thousands(fidelity.recorded_segments)} segments"
    return (
        f"replayed under the recorded settings: {segments} made and given back as recorded "
        f"({_floored(fidelity.share)}), peak of reserved memory {off}"
    )


def _floored(share: float) -> str:
    """A percentage that says 100 only where it is all."""
    return f"{int(share * 1000) / 10:.1f}%" if share < 1 else "100%"


def best_of(explanation: Explanation, advised: Collection[str]) -> WhatIf | None:
    """Of the settings that fit for certain, the ones to take: those that a finding advises, else the cheapest.

    `advised`: commands of the findings. A check may know why the cheapest would not do for this program.
    """
    for what in explanation.what_if:
        if what.outcome.fits and what.outcome.certain and export_line(explanation, what) in advised:
            return what
    return cheapest(explanation.what_if)


def commands_of(report: Report) -> set[str]:
    """That its findings advise."""
    return {fix.command for finding in report.findings for fix in finding.fixes if fix.command}


def advice(explanation: Explanation, best: WhatIf | None) -> str | None:
    """The line for the shell, where memory was short and the program ran with other settings."""
    short = explanation.failures or explanation.cap is not None
    if best is None or not short or best.parsed == explanation.settings:
        return None
    return export_line(explanation, best)


def export_line(explanation: Explanation, what: WhatIf) -> str:
    """For the shell that starts the program."""
    name = _variable(explanation.torch_era)
    own = "" if what.parsed == Settings() else what.settings
    text = ",".join(filter(None, (own, kept_settings(explanation.settings_text))))
    if not text:
        return f"unset {name}"
    return f"export {name}='{text}'" if "[" in text else f"export {name}={text}"


def _variable(torch_era: str) -> str:
    """PYTORCH_ALLOC_CONF is read since torch 2.9; the older name still is."""
    era = versions(torch_era)
    return "PYTORCH_ALLOC_CONF" if era and era[0] >= (2, 9) else "PYTORCH_CUDA_ALLOC_CONF"
