"""Runs collectors side by side, each as soon as the facts it needs are there, until the deadline."""

from __future__ import annotations

import inspect
import pkgutil
import threading
import time
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, Union

import msgspec

from gpudoctor.facts.fact import Fact, Facts
from gpudoctor.node.surface import Node
from gpudoctor.unread import Gap, Unread

Function = TypeVar("Function", bound=Callable[..., Any])
Held = Union[Fact, tuple[Fact, ...], Unread, None]


class Collector(msgspec.Struct, frozen=True):
    """Gives facts of one kind. Parameters: the node, and facts of other kinds (or why they are unread)."""

    function: Callable[..., Held]
    gives: type[Fact]
    needs: tuple[tuple[str, type[Fact]], ...]  # parameter, kind

    @property
    def name(self) -> str:
        return self.function.__name__


def collector(function: Function) -> Function:
    """Mark a function of this package as a collector.

    `def gpus(node: Node, devices: tuple[PciDevice, ...] | Unread) -> tuple[Gpu, ...] | Unread`
    A parameter without `| Unread` makes the result unread where that fact is; one without `| None`
    makes it None where that fact does not apply. Raising `Unread` is as good as returning it.
    """
    function.__collector__ = True  # type: ignore[attr-defined]
    return function


def collect(
    node: Node, wanted: Iterable[type[Fact]], *, seconds: float, given: Mapping[type[Fact], Held] | None = None
) -> Facts:
    """The wanted facts and what they need. What is not there at the deadline is unread: timed out.

    `given` facts (parsed from a file that somebody sent) stand in place of what the node would answer.
    """
    held: dict[type[Fact], Held] = dict(given or {})
    jobs = _needed(set(wanted), held)
    deadline = time.monotonic() + seconds
    done: SimpleQueue[tuple[type[Fact], Held]] = SimpleQueue()
    waiting = dict(jobs)
    running: set[type[Fact]] = set()
    while waiting or running:
        for kind, job in list(waiting.items()):
            if all(need in held for _, need in job.needs):
                del waiting[kind]
                running.add(kind)
                threading.Thread(target=_run, args=(job, node, dict(held), done), daemon=True).start()
        try:
            kind, fact = done.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        running.discard(kind)
        held[kind] = fact
    late = Unread(Gap.TIMED_OUT, "the scan", f"had no answer after {seconds:g} s", "raise --timeout")
    return Facts({**dict.fromkeys(jobs, late), **held})


def _run(job: Collector, node: Node, held: dict[type[Fact], Held], done: SimpleQueue[tuple[type[Fact], Held]]) -> None:
    done.put((job.gives, _answer(job, node, held)))


def _answer(job: Collector, node: Node, held: dict[type[Fact], Held]) -> Held:
    accepts = typing.get_type_hints(job.function)
    arguments: dict[str, Any] = {}
    for name, kind in job.needs:
        allowed = typing.get_args(accepts[name]) if _is_union(accepts[name]) else ()
        fact = held[kind]
        if isinstance(fact, Unread) and Unread not in allowed:
            return fact
        if fact is None and type(None) not in allowed:
            return None
        arguments[name] = fact
    try:
        return job.function(node, **arguments)
    except Unread as gap:
        return gap
    except Exception as error:  # a defect in one collector must not cost the rest of the scan
        return Unread(Gap.MALFORMED, job.name, f"the collector failed: {type(error).__name__}: {error}")


def _needed(wanted: set[type[Fact]], held: Mapping[type[Fact], Held]) -> dict[type[Fact], Collector]:
    known = collectors()
    jobs: dict[type[Fact], Collector] = {}
    while wanted:
        kind = wanted.pop()
        if kind in jobs or kind in held or kind not in known:
            continue
        jobs[kind] = known[kind]
        wanted.update(need for _, need in known[kind].needs)
    return jobs


@cache
def collectors() -> dict[type[Fact], Collector]:
    """Every collector of this package, by the kind of fact it gives."""
    found: dict[type[Fact], Collector] = {}
    package = import_module("gpudoctor.collect")
    for info in pkgutil.iter_modules(package.__path__):
        module = import_module(f"gpudoctor.collect.{info.name}")
        for value in vars(module).values():
            if getattr(value, "__collector__", False) and value.__module__ == module.__name__:
                made = _describe(value)
                found[made.gives] = made
    return found


def _describe(function: Callable[..., Held]) -> Collector:
    hints = typing.get_type_hints(function)
    names = list(inspect.signature(function).parameters)[1:]
    needs = tuple((name, _fact_type(hints[name])) for name in names)
    return Collector(function, _fact_type(hints["return"]), needs)


def _fact_type(hint: Any) -> type[Fact]:
    for option in typing.get_args(hint) if _is_union(hint) else (hint,):
        kind = typing.get_args(option)[0] if typing.get_origin(option) is tuple else option
        if isinstance(kind, type) and issubclass(kind, Fact):
            return kind
    raise TypeError(f"{hint!r} names no fact")


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (Union, types.UnionType)
