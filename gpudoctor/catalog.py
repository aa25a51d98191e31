"""Finds the packs of checks by entry point and joins functions to rows."""

from __future__ import annotations

import configparser
import difflib
import pkgutil
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType

from gpudoctor.check import Check
from gpudoctor.finding import Finding
from gpudoctor.knowledge import Description, FamilyFunction, Knowledge, UnknownCode
from gpudoctor.layer import Layer
from gpudoctor.lines import line_checks
from gpudoctor.unread import Gap, Unread

GROUP = "gpudoctor.checks"


class Catalog:
    """All packs that are installed. Modules and rows of a layer are loaded when it is asked for."""

    def __init__(self, packages: Iterable[str]) -> None:
        self.packages = tuple(packages)
        self._modules: dict[Layer, tuple[ModuleType, ...]] = {}
        self._broken: dict[tuple[str, Layer], str] = {}
        self.knowledge = Knowledge(self.packages, self.families)

    @classmethod
    def installed(cls) -> Catalog:
        """Raises LookupError where no pack is installed."""
        names = sorted(set(_entry_points()))
        if not names:
            raise LookupError(f"no pack of checks is installed (entry point group {GROUP})")
        return cls(names)

    def checks(self, layers: Collection[Layer] = ()) -> tuple[Check, ...]:
        wanted = [layer for layer in Layer if not layers or layer in layers]
        marked = [check for layer in wanted for module in self._of(layer) for check in _marked_checks(module)]
        lines = [check for layer in wanted for check in line_checks(self.knowledge.with_lines(layer), layer)]
        broken = [_unloaded(package, layer, why) for (package, layer), why in self._broken.items() if layer in wanted]
        return (*marked, *lines, *broken)

    def families(self, layer: Layer) -> Mapping[str, FamilyFunction]:
        return {
            value.__family__: value
            for module in self._of(layer)
            for value in vars(module).values()
            if hasattr(value, "__family__") and value.__module__ == module.__name__
        }

    @cached_property
    def codes(self) -> tuple[str, ...]:
        return tuple(code for _, code in self.knowledge.codes())

    def nearest(self, code: str) -> list[str]:
        """Codes that the writer may have meant, nearest first."""
        upper = code.upper().replace("-", "_").replace(" ", "_")
        return difflib.get_close_matches(upper, self.codes, n=3, cutoff=0.5)

    def known(self, code: str) -> bool:
        if code in self.codes:
            return True
        try:
            self.knowledge.row(code)
        except UnknownCode:
            return False
        return True

    def describe(self, text: str) -> Description | None:
        """What a pack knows of a thing by its name, such as a GPU's. A pack exports `describe(text)`."""
        hooks = (getattr(import_module(package), "describe", None) for package in self.packages)
        return next((said for hook in hooks if hook and (said := hook(text))), None)

    def _of(self, layer: Layer) -> tuple[ModuleType, ...]:
        if layer not in self._modules:
            found: list[ModuleType] = []
            for package in self.packages:
                try:
                    found += _layer_modules(package, layer)
                except Exception as error:  # somebody's pack must not cost the others
                    self._broken[package, layer] = f"{type(error).__name__}: {error}"
            self._modules[layer] = tuple(found)
        return self._modules[layer]


def _entry_points() -> Iterator[str]:
    """The group's values. importlib.metadata takes 30 to 50 ms to say the same where 250 packages are installed."""
    for place in map(Path, sys.path):
        for path in place.glob("*-info/entry_points.txt") if place.is_dir() else ():
            text = path.read_text(encoding="utf-8", errors="replace")
            if f"[{GROUP}]" in text:
                read = configparser.ConfigParser(delimiters=("=",), interpolation=None)
                read.read_string(text)
                yield from read[GROUP].values()


def _layer_modules(package: str, layer: Layer) -> Iterable[ModuleType]:
    root = import_module(package)
    if not any(info.name == layer for info in pkgutil.iter_modules(root.__path__)):
        return
    module = import_module(f"{package}.{layer}")
    yield module
    if hasattr(module, "__path__"):
        for info in pkgutil.iter_modules(module.__path__):
            yield import_module(f"{module.__name__}.{info.name}")


def _unloaded(package: str, layer: Layer, why: str) -> Check:
    """Stands in the outcomes for what this pack would have checked: could not tell."""

    def checks_of_pack() -> Iterator[Finding]:
        raise Unread(Gap.MALFORMED, f"pack {package}", f"could not be loaded: {why}")

    checks_of_pack.__module__ = f"{package}.{layer}"  # a check's layer is read from its module's path
    return Check((f"{package}.{layer}",), checks_of_pack)


def _marked_checks(module: ModuleType) -> Iterable[Check]:
    for value in vars(module).values():
        mark = getattr(value, "__check__", None)
        if isinstance(mark, Check) and value.__module__ == module.__name__:
            yield mark
