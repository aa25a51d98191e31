"""Styles and glyphs, named by what they mean. Every glyph has an ASCII form, every colour a word beside it."""

from __future__ import annotations

import msgspec

STYLES = {
    "ok": "green",
    "info": "cyan",
    "warning": "yellow",
    "error": "red",
    "critical": "bold red",
    "unknown": "magenta",
    "nothing": "dim",
    "title": "bold",
    "code": "bold",
    "label": "dim",
    "evidence": "",
    "command": "cyan",
    "note": "dim",
    "start": "bold",
    "frame": "dim",
    "allocated": "cyan",
    "free": "dim",
    "pending": "magenta",
}


class Glyphs(msgspec.Struct, frozen=True):
    ok: str
    info: str
    warning: str
    error: str
    critical: str
    unknown: str
    nothing: str
    explained: str
    start: str
    times: str
    dot: str
    more: str
    top_left: str
    top_right: str
    bottom_left: str
    bottom_right: str
    across: str
    down: str

    def of(self, verdict: str) -> str:
        return str(getattr(self, verdict))


UNICODE = Glyphs("✔", "•", "▲", "✖", "✖", "?", "–", "↳", "←", "x", "·", "…", "╭", "╮", "╰", "╯", "─", "│")
ASCII = Glyphs("+", "i", "!", "x", "X", "?", "-", "->", "<-", "x", "-", "...", "+", "+", "+", "+", "-", "|")
