"""Why a command does not run, in one sentence and with its exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import typer

from gpudoctor.render.plain import either

WRONG_USAGE = 2

# typer carries click inside of it since 0.26 and beside it before: the public name leads to both
UsageError: Any = typer.BadParameter.__mro__[1]


class Refusal(Exception):
    """Wrong usage, or input or output that cannot be used."""

    def __init__(self, sentence: str, exit_code: int = WRONG_USAGE) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def unknown(what: str, given: str, known: Iterable[str]) -> Refusal:
    """Names the nearest, or all where they are few."""
    names = list(known)
    near = difflib.get_close_matches(given.lower(), names, n=3, cutoff=0.5) or names
    return Refusal(
        f"unknown {what} {given!r}; {'did you mean' if len(near) < len(names) else 'known are'} {either(near)}"
    )
