"""What a check is: a function of the facts that its annotations name."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from gpudoctor.facts.fact import Fact, SubjectFact
from gpudoctor.finding import Finding
from gpudoctor.layer import Layer

Function = TypeVar("Function", bound=Callable[..., Iterable[Finding]])


class Wanted(msgspec.Struct, frozen=True):
    """One parameter of a check: which fact, and all of them or the one of the subject at hand."""

    name: str
    kind: type[Fact]
    every: bool  # annotated `tuple[Kind, ...]`
    by_subject: bool
    optional: bool  # annotated `... | None`: the check can do without it, and gets None where it is unread


@dataclass(frozen=True)
class Check:
    codes: tuple[str, ...]  # a code ending in `*` is a family: XID_*
    function: Callable[..., Iterable[Finding]]

    @property
    def name(self) -> str:
        return self.codes[0]

    @cached_property
    def layer(self) -> Layer:
        """The first component of the module's path that names a layer."""
        layers = {layer.value: layer for layer in Layer}
        return next(layers[part] for part in self.function.__module__.split(".") if part in layers)

    @cached_property
    def wants(self) -> tuple[Wanted, ...]:
        hints = typing.get_type_hints(self.function)
        return tuple(_wanted(name, hints[name]) for name in inspect.signature(self.function).parameters)

    @property
    def facts(self) -> frozenset[type[Fact]]:
        return frozenset(wanted.kind for wanted in self.wants)

    def covers(self, code: str) -> bool:
        return any(code == own or (own.endswith("*") and code.startswith(own[:-1])) for own in self.codes)


def check(*codes: str) -> Callable[[Function], Function]:
    """Mark a function as the producer of these codes."""

    def mark(function: Function) -> Function:
        function.__check__ = Check(codes, function)  # type: ignore[attr-defined]
        return function

    return mark


def _wanted(name: str, hint: Any) -> Wanted:
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    optional = type(None) in options
    hint = next(option for option in options if option is not type(None))
    every = typing.get_origin(hint) is tuple
    kind = typing.get_args(hint)[0] if every else hint
    if not (isinstance(kind, type) and issubclass(kind, Fact)):
        raise TypeError(f"parameter {name}: a check asks for facts, not for {hint!r}")
    return Wanted(name, kind, every, not every and issubclass(kind, SubjectFact), optional)
