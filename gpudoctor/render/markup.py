"""Text of the machine in Markdown: what it holds is shown, never obeyed."""

from __future__ import annotations

import re

from gpudoctor.render.plain import one_line, plain

_MARKS = re.compile(r"[\\`*\[\]<>|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^[#+=-]|^\d+(?=[.)])")


def escaped(text: str) -> str:
    """On one line; no markup, no HTML, no mention of a person."""
    marked = _MARKS.sub(lambda match: match[0] + "\\" if match[0].isdigit() else "\\" + match[0], one_line(plain(text)))
    return marked.replace("&", "&amp;").replace("@", "&#64;")


def code(text: str) -> str:
    """An inline code span that its own backticks cannot close."""
    words = one_line(plain(text))
    fence = "`" * (_longest_run(words) + 1)
    return f"{fence} {words} {fence}" if "`" in words else f"{fence}{words}{fence}"


def fenced(text: str) -> list[str]:
    words = plain(text.strip())
    fence = "`" * max(3, _longest_run(words) + 1)
    return [f"{fence}text", *words.split("\n"), fence]


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)
