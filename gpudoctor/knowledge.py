"""A row per code: title, why, fix, what explains it, sources. Read from the packs' YAML, on demand."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from gpudoctor.finding import Subject
from gpudoctor.layer import Layer

Disruption = Literal["none", "restart_process", "drain", "reboot", "hardware"]
SeverityName = Literal["info", "warning", "error", "critical"]


class Fix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    do: str
    command: str | None = None
    needs_root: bool = False
    disruption: Disruption = "none"


class LinePattern(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"within": "in"}):
    """A known error line. Named groups become values; `bus_id` names the subject's device."""

    anchor: str  # a literal that every matching line holds
    pattern: str
    within: Literal["kernel_log"] = "kernel_log"
    unless: tuple[str, ...] = ()  # patterns that, on the same line, make it harmless
    subject: Literal["node", "gpu", "pci"] = "node"
    # What shows that it is over: a reset or reload in the log; also that NVML lists the GPU (it was started
    # since); also that the GPU asks NVML for no recovery (it works again).
    until: Literal["reset", "listed", "sound"] = "reset"


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    severity: SeverityName
    why: str
    fix: tuple[Fix, ...]
    sources: tuple[str, ...]
    impact: str | None = None
    verify: str | None = None
    fix_for: dict[str, tuple[Fix, ...]] = {}  # by the finding's value `action`, before `fix`
    explained_by: tuple[str, ...] = ()
    explained_within_seconds: float = 120.0  # between occurrences, where both sides have times
    lines: tuple[LinePattern, ...] = ()

    def fixes(self, values: Mapping[str, Any]) -> tuple[Fix, ...]:
        return self.fix_for.get(str(values.get("action", "")), self.fix)

    def of_member(self, words: Mapping[str, str], **changes: Any) -> Row:
        """The row of one member of a family: the family's, with these words for `{name}` in title and why."""

        def filled(text: str) -> str:
            for name, word in words.items():
                text = text.replace("{" + name + "}", word)
            return text

        return msgspec.structs.replace(self, title=filled(self.title), why=filled(self.why), **changes)


class Description(msgspec.Struct, frozen=True):
    """What a pack knows of a thing that is no finding: a GPU's model, by its name."""

    title: str
    rows: tuple[tuple[str, str], ...]  # label, value
    sources: tuple[str, ...]


FamilyFunction = Callable[[str, Mapping[str, Row]], "Row | None"]
Family = TypeVar("Family", bound=FamilyFunction)


def family(prefix: str) -> Callable[[Family], Family]:
    """Mark the function that makes the rows of codes like `XID_79` out of a table.

    It gets the code and the written rows of its layer (one of them under `XID_*`), and returns the
    row, or None for a code that cannot be.
    """

    def mark(function: Family) -> Family:
        function.__family__ = prefix  # type: ignore[attr-defined]
        return function

    return mark


class UnknownCode(LookupError):
    """No row, written or made from a table, has this code."""


class Knowledge:
    """The rows of all packs. A layer's files are read when the first of its rows is asked for."""

    def __init__(self, packages: Iterable[str], families: Callable[[Layer], Mapping[str, FamilyFunction]]) -> None:
        self._packages = tuple(packages)
        self._families = families

    def written(self, layer: Layer) -> Mapping[str, Row]:
        return _rows(self._packages, layer)

    def with_lines(self, layer: Layer) -> Mapping[str, Row]:
        """The rows that know lines; of the layer's files only those that hold such rows are read."""
        return {code: row for code, row in _rows(self._packages, layer, holding=b"lines:").items() if row.lines}

    def row(self, code: str, layer: Layer | None = None) -> Row:
        """Raises UnknownCode."""
        for each in (layer,) if layer else tuple(Layer):
            rows = self.written(each)
            if code in rows:
                return rows[code]
            for prefix, make in self._families(each).items():
                made = make(code, rows) if code.startswith(f"{prefix}_") else None
                if made:
                    return made
        raise UnknownCode(code)

    def layer_of(self, code: str) -> Layer:
        """Raises UnknownCode."""
        for layer in Layer:
            if code in self.written(layer) or any(code.startswith(f"{p}_") for p in self._families(layer)):
                return layer
        raise UnknownCode(code)

    def codes(self) -> Iterator[tuple[Layer, str]]:
        """Every written row; a family shows as `XID_*`."""
        for layer in Layer:
            for code in self.written(layer):
                yield layer, code


@cache
def _rows(packages: tuple[str, ...], layer: Layer, holding: bytes = b"") -> Mapping[str, Row]:
    rows: dict[str, Row] = {}
    for package in packages:
        for text in (text for text in _layer_files(package, layer) if holding in text):
            read = msgspec.convert(load_yaml(text) or {}, dict[str, Row])
            if twice := sorted(rows.keys() & read.keys()):
                raise ValueError(f"{package}: two rows for {', '.join(twice)}")
            rows.update(read)
    return rows


def _layer_files(package: str, layer: Layer) -> Iterator[bytes]:
    for path in (_place(package) / f"{layer}.yaml", *sorted((_place(package) / layer).glob("*.yaml"))):
        if path.is_file():
            yield path.read_bytes()


def _place(package: str) -> Path:
    """A pack's folder. importlib.resources would take 25 ms to say the same."""
    return Path(import_module(package).__path__[0])


@cache
def table(package: str, name: str) -> Any:
    """`tables/NAME.yaml` of a pack: facts of the world, with their sources and dates."""
    return load_yaml((_place(package) / "tables" / f"{name}.yaml").read_bytes())


@cache
def table_items(package: str, name: str) -> tuple[bytes, ...]:
    """The items of a table's top-level list as text, for who needs one of many: `load_yaml(item)[0]`."""
    text = (_place(package) / "tables" / f"{name}.yaml").read_bytes()
    return tuple(b"- " + item for item in text.split(b"\n- ")[1:])


def load_yaml(text: bytes) -> Any:
    import yaml

    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 (both are safe)


class _Lenient(string.Formatter):
    """Leaves what it cannot fill as it stands, so that a row shows in `explain` without a finding."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        try:
            return super().get_field(field_name, args, kwargs)
        except (AttributeError, KeyError, IndexError):
            return "{" + field_name + "}", field_name


def fill(template: str, subject: Subject | None, values: Mapping[str, Any]) -> str:
    """A row's text with the finding's values in it."""
    held = dict(values)
    if subject is not None:
        held["subject"] = subject
    try:
        return _Lenient().vformat(template, (), held)
    except ValueError:  # a literal brace in a command: awk '{print $1}'
        return template
