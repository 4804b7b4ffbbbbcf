"""Stand-ins for answers, texts and combinations that record what a template, hook or function reads.

Each contains only the given values, and any other access is an error. So a result that is returned without an error
depends only on the given values.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from .template import Combination, Declaration

T = TypeVar("T")


class UnreadError(Exception):
    """A function accessed answers that it was not given."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        super().__init__(f"reads {', '.join(sorted(self.names))}")


class Answers(dict[str, Any]):
    """Answers without those in `closed`. Access to one of these, or to all answers, raises `UnreadError`."""

    def __init__(self, answers: Mapping[str, Any], closed: Collection[str]) -> None:
        self.__closed = frozenset(closed)
        super().__init__({name: value for name, value in answers.items() if name not in self.__closed})

    def __getitem__(self, name: str) -> Any:
        self.__ask(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.__ask(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.__ask(name)
        return super().__contains__(name)

    def __ask(self, name: object) -> None:
        if name in self.__closed:
            raise UnreadError([str(name)])

    def __ask_for_all(self) -> None:
        if self.__closed:
            raise UnreadError(self.__closed)

    def __iter__(self) -> Iterator[str]:
        self.__ask_for_all()
        return super().__iter__()

    def __reversed__(self) -> Iterator[str]:
        self.__ask_for_all()
        return super().__reversed__()

    def __len__(self) -> int:
        self.__ask_for_all()
        return super().__len__()

    def __bool__(self) -> bool:
        self.__ask_for_all()
        return len(self) > 0

    def __eq__(self, other: object) -> bool:
        self.__ask_for_all()
        return super().__eq__(other)

    def __or__(self, other: Any) -> Any:
        self.__ask_for_all()
        return super().__or__(other)

    def __ror__(self, other: Any) -> Any:
        self.__ask_for_all()
        return super().__ror__(other)

    def __repr__(self) -> str:
        self.__ask_for_all()
        return super().__repr__()

    def keys(self) -> Any:
        self.__ask_for_all()
        return super().keys()

    def values(self) -> Any:
        self.__ask_for_all()
        return super().values()

    def items(self) -> Any:
        self.__ask_for_all()
        return super().items()

    def copy(self) -> Any:
        self.__ask_for_all()
        return super().copy()

    __hash__ = None


def refuse(sealed: object, *_: object) -> NoReturn:
    raise SealedError(object.__repr__(sealed))


class SealedError(Exception):
    """A hook accessed a sealed text."""


class Sealed:
    """A stand-in for the text of a file. Every access raises `SealedError`."""

    __slots__ = ()


# The operations that `object` would otherwise support. `isinstance` reads the attribute `__class__`.
for operation in (
    "__getattribute__",
    "__eq__",
    "__ne__",
    "__hash__",
    "__bool__",
    "__str__",
    "__repr__",
    "__format__",
):
    setattr(Sealed, operation, refuse)


class Unread:  # noqa: PLW1641 - its hash is an operation below
    """A stand-in for an answer that was not given.

    Its type is known, and that it is one of `values`. Any other access adds its name to `asked` and raises
    `UnreadError`.
    """

    __slots__ = ("_asked", "_kind", "_name", "_values")

    def __init__(self, name: str, kind: type, values: Collection[object], asked: set[str]) -> None:
        set_slot = object.__setattr__
        set_slot(self, "_name", name)
        set_slot(self, "_kind", kind)
        set_slot(self, "_values", values)
        set_slot(self, "_asked", asked)

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return object.__getattribute__(self, "_kind")
        return ask(self)

    def __eq__(self, other: object) -> bool:
        values = object.__getattribute__(self, "_values")
        return False if values and type(other) is str and other not in values else bool(ask(self))

    def __ne__(self, other: object) -> bool:
        return not self == other


def ask(answer: Unread, *_: object) -> NoReturn:
    """Record the access and raise `UnreadError`. A hook may catch the error, so the record is needed."""
    name = object.__getattribute__(answer, "_name")
    object.__getattribute__(answer, "_asked").add(name)
    raise UnreadError([name])


for operation in ("__bool__", "__hash__", "__str__", "__repr__", "__format__", "__len__", "__iter__"):
    setattr(Unread, operation, ask)
for operation in ("__contains__", "__getitem__", "__lt__", "__le__", "__gt__", "__ge__"):
    setattr(Unread, operation, ask)
for operation in ("add", "and", "mod", "mul", "or", "sub", "xor"):
    setattr(Unread, f"__{operation}__", ask)
    setattr(Unread, f"__r{operation}__", ask)


class Chosen(Set[str]):
    """A combination in which access to an item in `closed`, or to all items, raises `UnreadError`."""

    def __init__(self, items: Combination, closed: Collection[str]) -> None:
        self.__items = items
        self.__closed = frozenset(closed)

    def __contains__(self, item: object) -> bool:
        if item in self.__closed:
            raise UnreadError([str(item).partition("=")[0]])
        return item in self.__items

    def __iter__(self) -> Iterator[str]:
        return iter(self.__all())

    def __len__(self) -> int:
        return len(self.__all())

    def __and__(self, other: Any) -> "Chosen":
        asked = frozenset(other)
        return Chosen(self.__items & asked, self.__closed & asked)

    __rand__ = __and__

    def __sub__(self, other: Any) -> "Chosen":
        left_out = frozenset(other)
        return Chosen(self.__items - left_out, self.__closed - left_out)

    def __eq__(self, other: object) -> bool:
        return self.__all() == other

    def __hash__(self) -> int:
        return hash(self.__all())

    def __getattr__(self, name: str) -> Any:
        """Delegate other set operations to the whole set."""
        return getattr(self.__all(), name)

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> Any:
        return frozenset(it)

    def __all(self) -> Combination:
        if self.__closed:
            raise UnreadError(item.partition("=")[0] for item in self.__closed)
        return self.__items


@dataclass
class Asking(Generic[T]):
    """A function of combinations, with a record of the varied prompts that it reads."""

    declaration: Declaration
    function: Callable[[Combination], T]
    reads: frozenset[str] = frozenset()

    def names(self, core: Combination) -> frozenset[str]:
        """Return the varied prompts that decide the result for a combination."""
        while True:
            before = self.reads
            for variation in self.declaration.variations_of(self.reads):
                self.at(core, variation)
                if self.reads != before:
                    break
            else:
                return self.reads

    def at(self, core: Combination, variation: Combination) -> T:
        while True:
            closed = self.declaration.varying - self.declaration.scope(self.reads)
            scope = self.declaration.varying - closed
            try:
                chosen: Any = Chosen(core | (variation & scope), closed)
                return self.function(chosen)
            except UnreadError as unread:
                self.reads |= unread.names
