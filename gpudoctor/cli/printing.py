"""What a command prints, in the form that was asked for."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpudoctor.facts.fact import Facts
    from gpudoctor.render.screen import Screen
    from gpudoctor.report import Report


@dataclass(frozen=True, slots=True)
class Look:
    ascii_only: bool = False
    no_color: bool = False
    to_file: bool = False

    def screen(self) -> Screen:
        from gpudoctor.render.screen import Screen

        stream = None if self.to_file else sys.stdout
        return Screen.of(stream, ascii_only=self.ascii_only, no_color=self.no_color)


def load_renderer(form: str) -> ModuleType:
    """Import it ahead of its use, while the node is still answering."""
    return import_module(f"gpudoctor.render.{form}")


def report_text(report: Report, form: str, look: Look, *, verbosity: int = 0, quiet: bool = False) -> str:
    if form == "json":
        from gpudoctor.render import json

        return json.render(report)
    if form == "markdown":
        from gpudoctor.render import markdown

        return markdown.render(report, verbosity=verbosity, quiet=quiet)
    from gpudoctor.render import terminal

    return terminal.render(report, look.screen(), verbosity=verbosity, quiet=quiet)


def facts_text(facts: Facts, form: str, look: Look) -> str:
    if form == "json":
        from gpudoctor.render.json import dumped

        return dumped({kind.__name__: facts.one(kind) for kind in sorted(facts.kinds(), key=str)})
    from gpudoctor.render import facts as page

    return page.render(facts, look.screen())
