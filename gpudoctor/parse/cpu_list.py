"""Lists of CPUs and nodes as the kernel writes them: `0-15,32-47`."""

from __future__ import annotations

import re

_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6})(?::(\d{1,6})/(\d{1,6}))?)?")
MOST = 1 << 16


def cpus_in(text: str) -> frozenset[int]:
    """Raises ValueError. Empty text is no CPU; `0-31:2/4` is two out of each four."""
    found: set[int] = set()
    for part in filter(None, (each.strip() for each in text.split(","))):
        shape = _RANGE.fullmatch(part)
        first, last = (int(shape[1]), int(shape[2] or shape[1])) if shape else (1, 0)
        if shape is None or first > last or last >= MOST:
            raise ValueError(f"{part[:40]!r} is no range of CPUs")
        used, group = int(shape[3] or 1), int(shape[4] or 1)
        found |= {each for each in range(first, last + 1) if (each - first) % max(1, group) < used}
    return frozenset(found)
