"""What an option's text means."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gpudoctor.cli.refusal import Refusal, unknown
from gpudoctor.finding import Severity
from gpudoctor.layer import Layer

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|d|w)?")
LONGEST = 10 * 365 * 86400.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What to examine, on which GPUs, and what counts as failed."""

    layers: tuple[Layer, ...] = ()
    checks: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    since_seconds: float | None = None
    fail_on: Severity = Severity.ERROR
    require: tuple[Layer, ...] = ()
    timeout_seconds: float = 20.0

    @property
    def narrow(self) -> bool:
        """Not all checks are wanted, so perhaps not all facts."""
        return bool(self.layers or self.checks)


def one_of(what: str, given: str, known: Sequence[str]) -> str:
    if given.lower() not in known:
        raise unknown(what, given, known)
    return given.lower()


def split(option: str, given: Collection[str]) -> tuple[str, ...]:
    """`--layer kernel,driver` is `--layer kernel --layer driver`. An empty `--layer "$UNSET"` is not all of them."""
    names = tuple(dict.fromkeys(name.strip() for each in given for name in each.split(",") if name.strip()))
    if given and not names:
        raise Refusal(f"{option} names nothing")
    return names


def codes(option: str, given: Collection[str]) -> tuple[str, ...]:
    return tuple(name.upper() for name in split(option, given))


def layers(option: str, given: Collection[str]) -> tuple[Layer, ...]:
    names = [str(layer) for layer in Layer]
    return tuple(Layer(one_of("layer", name, names)) for name in split(option, given))


def severity(given: str) -> Severity:
    return Severity[one_of("level", given, [str(level) for level in Severity]).upper()]


def duration(option: str, given: str) -> float:
    """`90`, `90s`, `15m`, `2h`, `3d`: seconds."""
    match = _DURATION.fullmatch(given.strip().lower())
    seconds = float(match[1]) * _UNITS[(match[2] or "s")[0]] if match else 0.0
    if not 0 < seconds <= LONGEST:
        raise Refusal(f"{option} {given!r} is no duration; write 90s, 15m, 2h or 3d")
    return seconds


def sample(given: str, timeout_seconds: float) -> float:
    """How far apart counters are read twice; 0 where it is not asked for."""
    seconds = duration("--sample", given) if given else 0.0
    if seconds > timeout_seconds / 2:
        raise Refusal(f"--sample {given} leaves a scan of {timeout_seconds:g} s no time; raise --timeout")
    return seconds


def since(given: str) -> float | None:
    """Seconds back from now, or None for everything since the boot."""
    if given.strip().lower() == "boot":
        return None
    try:
        return duration("--since", given)
    except Refusal as refusal:
        raise Refusal(f"{refusal}, or boot") from None
