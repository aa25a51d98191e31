"""Which of the settings that fit is the one to take, its line for the shell, and what it does not go with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gpudoctor.facts.allocator import AllocatorSnapshot, Alternative
from gpudoctor.knowledge import table

PACK = "gpudoctor_checks"
_NAME = re.compile(r"(\w+):(?:\[[^\]]*\]|[^,\[\]]*)")


def best(snapshot: AllocatorSnapshot, *, certain: bool) -> Alternative | None:
    """Fewest conflicts with this program, then the lowest peak, and a twentieth more of it for each setting."""

    def price(each: Alternative) -> tuple[int, int, int]:
        concerned = sum(bool(concerns) for _, concerns in _conflicts(snapshot, each.settings))
        return concerned, each.reserved_peak_bytes * (20 + len(_names(each.settings))) // 20, each.device_allocs

    fitting = [a for a in snapshot.alternatives if a.fits and not a.is_recorded and (a.certain or not certain)]
    return min(fitting, key=price, default=None)


def recorded(snapshot: AllocatorSnapshot) -> Alternative | None:
    return next((each for each in snapshot.alternatives if each.is_recorded), None)


def shell_line(snapshot: AllocatorSnapshot, settings: str) -> str:
    name = variable(snapshot)
    parts = [part for part in ("" if settings == "default" else settings, snapshot.kept_settings) if part]
    if not parts:
        return f"unset {name}"
    text = ",".join(parts)
    return f"export {name}='{text}'" if "[" in text else f"export {name}={text}"


def variable(snapshot: AllocatorSnapshot) -> str:
    """The oldest name is read by every version; the newer one only where this version surely knows it."""
    new, old = table(PACK, "alloc_conf")["variables"]
    oldest = snapshot.oldest_torch
    return str(new["name"] if oldest and list(oldest[0]) >= new["since"] else old["name"])


def conflicts(snapshot: AllocatorSnapshot, settings: str) -> tuple[str, ...]:
    """What these settings do not go together with; what the stacks show not to be in this program is left out."""
    known = [(what, concerns) for what, concerns in _conflicts(snapshot, settings) if concerns is not False]
    return tuple(what for what, _ in sorted(known, key=lambda each: not each[1]))


def _conflicts(snapshot: AllocatorSnapshot, settings: str) -> Iterator[tuple[str, bool | None]]:
    """None: whether it concerns this program is not known."""
    for row in _rows(settings):
        for conflict in row.get("conflicts", ()):
            packages = set(conflict.get("with", ()))
            told = packages and snapshot.has_stacks
            yield conflict["what"], bool(packages & set(snapshot.packages)) if told else None


def _rows(settings: str) -> Iterator[dict[str, Any]]:
    options = table(PACK, "alloc_conf")["options"]
    return (options.get(name, {}) for name in _names(settings))


def _names(settings: str) -> list[str]:
    return [] if settings == "default" else [match[1] for match in _NAME.finditer(settings)]
