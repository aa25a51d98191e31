"""Numbers and lists as a sentence says them."""

from __future__ import annotations

from collections.abc import Sequence


def spoken(labels: Sequence[str]) -> str:
    """A, B and C"""
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


def number_of(count: int, one: str, many: str = "") -> str:
    """`1 GPU`, `2 GPUs`"""
    return f"{count} {one if count == 1 else many or one + 's'}"
