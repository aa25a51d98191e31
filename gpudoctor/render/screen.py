"""Where a page is printed: its width, whether it takes colour and glyphs, and how text gets onto it."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from io import StringIO
from typing import IO

import msgspec
from rich.console import Console
from rich.text import Text
from rich.theme import Theme

from gpudoctor.render.plain import one_line, plain
from gpudoctor.render.theme import ASCII, STYLES, UNICODE, Glyphs

PIPED_WIDTH = 100
NARROWEST, WIDEST = 40, 120
LEAST_BESIDE = 16  # columns


class Screen(msgspec.Struct, frozen=True):
    width: int = PIPED_WIDTH
    ascii_only: bool = False
    color: bool = False

    @classmethod
    def of(cls, stream: IO[str] | None, *, ascii_only: bool = False, no_color: bool = False) -> Screen:
        """The terminal or pipe behind a stream; None is a file yet to be written."""
        terminal = stream is not None and stream.isatty()
        width = _width(stream)
        dull = no_color or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
        return cls(
            max(NARROWEST, min(WIDEST, width)),
            ascii_only or not _takes_glyphs(stream),
            terminal and not dull,
        )

    @property
    def glyphs(self) -> Glyphs:
        return ASCII if self.ascii_only else UNICODE

    def text(self, words: str, style: str = "") -> Text:
        """Words as they stand: no markup, no control characters, no line breaks."""
        return Text(one_line(plain(words, ascii_only=self.ascii_only)), style)

    def verbatim(self, words: str, style: str = "") -> list[Text]:
        """Lines as they stand, for what is to be copied: a command."""
        return [Text(plain(line, ascii_only=self.ascii_only), style) for line in words.strip().split("\n")]

    def wrapped(self, words: str | Text, width: int, style: str = "") -> list[Text]:
        """Lines no wider than `width`; paragraphs stay apart."""
        if isinstance(words, Text):
            paragraphs = [words]
        else:
            paragraphs = [self.text(part, style) for part in words.strip().split("\n\n")]
        lines: list[Text] = []
        for number, paragraph in enumerate(paragraphs):
            if number:
                lines.append(Text())
            lines += _folded(paragraph, max(1, width))
        return lines

    def hanging(self, lead: Text, words: str | Text, width: int, style: str = "") -> list[Text]:
        """`lead` and then the words, wrapped beside it; under it where it leaves them no room."""
        if width - lead.cell_len < LEAST_BESIDE:
            below = self.wrapped(words, width - 4, style)
            return [*_folded(lead, width), *(Text.assemble("    ", line) for line in below)]
        lines = self.wrapped(words, width - lead.cell_len, style)
        first, rest = lines[:1] or [Text()], lines[1:]
        return [Text.assemble(lead, first[0]), *(Text.assemble(" " * lead.cell_len, line) for line in rest)]

    def running(self, parts: Iterable[tuple[str, str]]) -> Iterator[Text]:
        """Parts (words, style) side by side, on as few lines as the width allows."""
        line = Text(" ")
        for words, style in parts:
            for part in self.wrapped(self.text(words, style), self.width - 4):
                if line.plain.strip() and line.cell_len + part.cell_len + 3 > self.width:
                    yield line
                    line = Text("  ")
                line = Text.assemble(line, "   " if line.plain.strip() else "", part)
        if line.plain.strip():
            yield line

    def printed(self, lines: Iterable[Text]) -> str:
        """The page as one string, with colour codes where the screen takes them."""
        console = Console(
            file=StringIO(),
            width=self.width,
            theme=Theme(STYLES),
            force_terminal=self.color,
            color_system="standard" if self.color else None,
            legacy_windows=False,
            highlight=False,
            markup=False,
            emoji=False,
        )
        for line in lines:
            line.rstrip()
            console.print(line, no_wrap=True, overflow="ignore", crop=False)
        assert isinstance(console.file, StringIO)
        return console.file.getvalue()


_RULER = Console(file=StringIO(), width=WIDEST, color_system=None)


def _folded(words: Text, width: int) -> list[Text]:
    lines = list(words.wrap(_RULER, width, overflow="fold"))
    for line in lines:
        line.rstrip()
    return lines


def _width(stream: IO[str] | None) -> int:
    """Of the terminal, also where a pager stands between; a file gets a width of its own."""
    if os.environ.get("COLUMNS", "").isdigit() or (stream is not None and stream.isatty()):
        return shutil.get_terminal_size((PIPED_WIDTH, 24)).columns
    try:
        piped = stream is not None and stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
        return (piped and os.get_terminal_size(sys.stderr.fileno()).columns) or PIPED_WIDTH
    except (OSError, ValueError, AttributeError):  # nobody looks on, or a stream without a descriptor
        return PIPED_WIDTH


def _takes_glyphs(stream: IO[str] | None) -> bool:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        "✔▲✖↳╭│…–".encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return False
    return True
