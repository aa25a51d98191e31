"""How hardware is called and how much of it there is, the same on every page."""

from __future__ import annotations


def cpu_name(model: str) -> str:
    """Without the marks of trade."""
    return " ".join(model.replace("(R)", "").replace("(TM)", "").split())


def size(amount: int) -> str:
    """Three digits or four: `1.97 TiB`, `504 GiB`, `5.21 GiB`, `512 MiB`."""
    for unit, shift in (("TiB", 40), ("GiB", 30)):
        if amount >= 1 << shift:
            whole = amount / (1 << shift)
            return f"{whole:.0f} {unit}" if whole >= 10 else f"{f'{whole:.2f}'.rstrip('0').rstrip('.')} {unit}"
    return f"{amount / (1 << 20):.0f} MiB"
