"""Text of the machine made fit for a screen: it can neither steer the terminal nor hide what it says."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_STEERING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # controls, bidi and zero-width marks, surrogates
_PRINTABLE = re.compile(r"[\x20-\x7e\n]*")
_ASCII = str.maketrans(
    {"–": "-", "—": "-", "…": "...", "→": "->", "←": "<-", "↳": "->", "×": "x", "·": "-", "≥": ">=", "≤": "<="}
    | {"‘": "'", "’": "'", "“": '"', "”": '"', "µ": "u", "°": " deg ", "±": "+/-", "≈": "~"}
)


def plain(text: str, *, ascii_only: bool = False) -> str:
    """The text with every character that a terminal would obey shown as an escape instead."""
    if _PRINTABLE.fullmatch(text):
        return text
    shown = "".join(_shown(character) for character in text)
    if ascii_only:
        shown = shown.translate(_ASCII).encode("ascii", "backslashreplace").decode()
    return shown


def one_line(text: str) -> str:
    return " ".join(text.split())


def either(names: Iterable[str]) -> str:
    """`a, b or c`"""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def _shown(character: str) -> str:
    if character == "\t":
        return " "
    if character == "\n" or unicodedata.category(character) not in _STEERING:
        return character
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
