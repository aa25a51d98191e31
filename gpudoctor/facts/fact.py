"""What a fact is: frozen, typed, and its fields are known or raise `Unread` when touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar, cast

from gpudoctor.finding import Evidence, Subject
from gpudoctor.unread import Gap, Reading, Unread

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:  # at run time it only costs its import

    def dataclass_transform(**_: Any) -> Callable[[T], T]:
        return lambda decorated: decorated


T = TypeVar("T")
F = TypeVar("F", bound="Fact")
MISSING: Any = object()


class Source(NamedTuple):
    """Where a field comes from; `{name}` stands for another field of the same fact."""

    where: str
    default: Any = MISSING


def source(where: str, default: Any = MISSING) -> Any:
    """A field and where it comes from."""
    return Source(where, default)


@dataclass_transform(frozen_default=True, field_specifiers=(source,))
def fact(cls: type[T]) -> type[T]:
    """A frozen dataclass to every type checker; made without `dataclasses`, which takes 0.5 ms a class."""
    own = {name: vars(cls).get(name, MISSING) for name in cls.__annotations__}
    fields = {n: held if isinstance(held, Source) else Source(n, held) for n, held in own.items()}
    for name in fields:
        if name in vars(cls):
            delattr(cls, name)
    cls.__fact_fields__ = fields  # type: ignore[attr-defined]
    return cls


class Fact:
    """Touching an unread field raises its `Unread`; `reading` returns either."""

    __fact_fields__: ClassVar[dict[str, Source]]

    def __init__(self, *values: Any, **named: Any) -> None:
        fields = self.__fact_fields__
        given = {**dict(zip(fields, values, strict=False)), **named}
        held = {name: given.get(name, field.default) for name, field in fields.items()}
        if (
            any(value is MISSING for value in held.values())
            or len(given) < len(values) + len(named)
            or not given.keys() <= fields.keys()
        ):
            raise TypeError(f"{type(self).__name__}({', '.join(fields)}): got {len(values)} and {', '.join(named)}")
        self.__dict__.update(held)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if isinstance(value, Unread):
            raise value
        return value

    def reading(self, name: str) -> Reading[Any]:
        return cast(Reading[Any], object.__getattribute__(self, name))

    def get(self, name: str, otherwise: Any = None) -> Any:
        """The value, or `otherwise` where it is unread: for judging beside a gap, not for hiding it."""
        value = object.__getattribute__(self, name)
        return otherwise if isinstance(value, Unread) else value

    def lacks(self, *names: str) -> bool:
        """Whether this device or its driver does not have what these fields tell of."""
        held = [object.__getattribute__(self, name) for name in names]
        return all(isinstance(value, Unread) and value.gap is Gap.UNSUPPORTED for value in held)

    def incomplete(self) -> Unread | None:
        """Why finding nothing in this fact does not mean that there was nothing."""
        return None

    def with_fields(self: F, **changed: Any) -> F:
        return type(self)(**{**dict(self.readings()), **changed})

    def source(self, name: str) -> str:
        where = self.__fact_fields__[name].where
        if "{" not in where:
            return where
        return where.format_map({n: self.get(n, n) for n in self.__fact_fields__})

    def seen(self, *names: str) -> tuple[Evidence, ...]:
        """Evidence out of fields: their sources and what they held."""
        return tuple(Evidence(self.source(name), f"{name} {self.get(name, 'unread')}") for name in names)

    def readings(self) -> Iterator[tuple[str, Reading[Any]]]:
        for name in self.__fact_fields__:
            yield name, self.reading(name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in self.readings())})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fact) and type(other) is type(self) and list(self.readings()) == list(other.readings())

    def __hash__(self) -> int:
        return hash((type(self), repr(self)))


class SubjectFact(Fact):
    """A fact of which a node has several, one for each subject."""

    subject: Subject


class Facts:
    """All facts of one machine: for a type its one fact, its facts by subject, or why there are none.

    A type that was not collected is unread; a type that does not apply here (the NVIDIA driver on
    an AMD node) is None.
    """

    def __init__(self, held: Mapping[type[Fact], Fact | tuple[Fact, ...] | Unread | None]) -> None:
        self._held = dict(held)

    def one(self, kind: type[F]) -> F | Unread | None:
        return cast("F | Unread | None", self._held.get(kind, self._missing(kind)))

    def all(self, kind: type[F]) -> tuple[F, ...] | Unread:
        held = self._held.get(kind, self._missing(kind))
        return () if held is None else cast("tuple[F, ...] | Unread", held)

    def of(self, kind: type[F], subject: Subject) -> F | Unread | None:
        held = self.all(kind)
        if isinstance(held, Unread):
            return held
        return next((f for f in held if cast(SubjectFact, f).subject.id == subject.id), None)

    def kinds(self) -> tuple[type[Fact], ...]:
        return tuple(self._held)

    @staticmethod
    def _missing(kind: type[Fact]) -> Unread:
        return Unread(Gap.NOT_RECORDED, kind.__name__, "was not collected")
