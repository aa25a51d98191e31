"""Documents on the terminal and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.text import Text

from gpudoctor.render.explain import Block, Command, Document, Entry, Origin, Section, Step
from gpudoctor.render.markup import code, escaped, fenced
from gpudoctor.render.screen import Screen

LINK = re.compile(r"https?://[^\s<>]+")
CODE_NAME = re.compile(r"[A-Z][A-Z0-9_]+")


def terminal(document: Document, screen: Screen) -> str:
    return screen.printed(_lines(document, screen))


def _lines(document: Document, screen: Screen) -> Iterator[Text]:
    width = screen.width - 4
    yield Text.assemble(" ", screen.text(document.name, "code"), "   ", screen.text(document.kind, "note"))
    yield from _indented(screen.wrapped(screen.text(document.title, "title"), width), 1)
    for section in document.sections:
        yield Text()
        yield Text(f" {section.heading}", "label")
        for number, block in enumerate(section.blocks, 1):
            yield from _indented(_block(block, number, section, screen, width), 3)


def _block(block: Block, number: int, section: Section, screen: Screen, width: int) -> Iterator[Text]:
    if isinstance(block, Step):
        words = Text.assemble(screen.text(block.do), (f"  ({block.price})" if block.price else "", "note"))
        yield from screen.hanging(Text(f"{number}  "), words, width)
        for line in screen.verbatim(block.command, "command") if block.command else ():
            yield Text.assemble(("   $ ", "note"), line)
    elif isinstance(block, Command):
        yield from screen.verbatim(block.text, "command")
    elif isinstance(block, Entry):
        longest = min(32, max(len(b.name) for b in section.blocks if isinstance(b, Entry)))
        yield from screen.hanging(
            screen.text(f"{block.name}", "code") + " " * max(3, longest + 3 - len(block.name)), block.words, width
        )
    elif isinstance(block, Origin):
        yield screen.text(block.text)  # copied whole
    else:
        yield from screen.wrapped(block, width)


def markdown(document: Document, *, linked: frozenset[str] = frozenset()) -> str:
    """`linked`: the codes that have a page of their own beside this one."""
    return "\n".join(_markdown_lines(document, linked)) + "\n"


def _markdown_lines(document: Document, linked: frozenset[str]) -> Iterator[str]:
    yield f"# {escaped(document.name)}"
    yield ""
    yield f"**{escaped(document.title)}**{f' ({escaped(document.kind)})' if document.kind else ''}"
    for section in document.sections:
        yield ""
        yield f"## {section.heading}"
        yield ""
        for number, block in enumerate(section.blocks, 1):
            yield from _markdown_block(block, number, linked)


def _markdown_block(block: Block, number: int, linked: frozenset[str]) -> Iterator[str]:
    if isinstance(block, Step):
        yield f"{number}. {escaped(block.do)}{f' *({block.price})*' if block.price else ''}"
        if block.command:
            yield from (f"   {line}".rstrip() for line in ["", *fenced(block.command)])
    elif isinstance(block, Command):
        yield from fenced(block.text)
    elif isinstance(block, Entry):
        name = f"[{code(block.name)}]({page_name(block.name)})" if block.name in linked else code(block.name)
        if not CODE_NAME.fullmatch(block.name):
            name = escaped(block.name)
        yield f"- {name}{f': {escaped(block.words)}' if block.words else ''}"
    elif isinstance(block, Origin):
        yield f"- <{block.text}>" if LINK.fullmatch(block.text) else f"- {escaped(block.text)}"
    else:
        yield escaped(block)


def page_name(code: str) -> str:
    """`XID_*` is one page of its family."""
    return f"{code.replace('_*', '')}.md"


def _indented(lines: list[Text] | Iterator[Text], columns: int) -> Iterator[Text]:
    for line in lines:
        yield Text.assemble(" " * columns, line)
