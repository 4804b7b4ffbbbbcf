"""Types are checked again where the interface of an imported module differs, and only there."""

from pathlib import Path

import pytest

from matrix.closures import Closures
from matrix.interfaces import Interfaces
from matrix.trees import Store, Tree
from matrix.typechecking import check_types

BASES = """\
from typing import Any, Generic, TypeVar

T = TypeVar("T")

class Plain(dict[str, Any]):
    pass

class Boxed(Generic[T]):
    def __init__(self, content: T) -> None: ...

class Odd:
    def __new__(cls, *given: int) -> Any: ...
"""
IMPORTS = "from collections.abc import AsyncIterator\nfrom .bases import Boxed, Odd, Plain\nfrom .other import other\n"
# What is written twice in a module, and whether the importers of the module see the same.
SAME = {
    "the body of a function": (
        "def f(a: int) -> int:\n    return a",
        "def f(a: int) -> int:\n    return other()",
    ),
    "a call": ("", "print(other())"),
    "the value of a declared name": ("a: int = 1", "a: int = other()"),
    "the arguments of an object": ("a = Plain(x=1)", "a = Plain(x=other())"),
    "an import": ("", "from .third import third"),
    "a comment": ("a = 1", "# one\na = 1"),
}
DIFFERENT = {
    "a parameter": ("def f(a: int) -> int: ...", "def f(a: str) -> int: ..."),
    "a default": ("def f(a: int) -> int: ...", "def f(a: int = 0) -> int: ..."),
    "a decorator": ("def f() -> int: ...", "@other\ndef f() -> int: ..."),
    "a generator": (
        "async def f() -> AsyncIterator[int]:\n    return other()",
        "async def f() -> AsyncIterator[int]:\n    yield 1",
    ),
    "a name that a function defines": (
        "a = None\ndef f() -> None:\n    pass",
        "a = None\ndef f() -> None:\n    global a, b\n    b = 1",
    ),
    "a method": ("class A:\n    def f(self): self.a = 1", "class A:\n    def f(self): self.a = ''"),
    "a value": ("a = 1", "a = ''"),
    "a constant": ("from typing import Final\na: Final = 1", "from typing import Final\na: Final = ''"),
    "a declared type": ("a: int = 1", "a: str = 1"),
    "the class of an object": ("a = Plain()", "a = Odd()"),
    "the arguments of an object with type parameters": ("a = Boxed(1)", "a = Boxed('')"),
    "the arguments of an object of a class that creates others": ("a = Odd(1)", "a = Odd(2)"),
    "the arguments of a call": ("a = other(1)", "a = other('')"),
    "a name that is re-exported": ("", "from .third import third as third"),
    "all names that are re-exported": ("", "from .third import *"),
    "the list of exported names": ("", "__all__ = ['other']"),
    "an addition to the list of exported names": ("__all__ = []", "__all__ = []\n__all__.append('other')"),
    "an import that depends on the system": (
        "",
        "try:\n    from .third import third\nexcept ImportError:\n    pass",
    ),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    folder = tmp_path / "contents"
    folder.mkdir()
    return Store(folder)


def project(store: Store, module: str, *, strict: bool = True, **others: str) -> Tree:
    texts = {
        "__init__": "",
        "bases": BASES,
        "other": "",
        "third": "third = 1\n",
        "module": f"{IMPORTS}{module}\n",
        "importer": "from .module import *\n",
        **others,
    }
    files = {f"src/app/{name}.py": text.encode() for name, text in texts.items()}
    return store.add({**files, "pyproject.toml": f"[tool.mypy]\nstrict = {str(strict).lower()}\n".encode()})


def key(store: Store, tree: Tree) -> str:
    return Interfaces(Closures(store)).of_project(tree).key("src/app/importer.py")


@pytest.mark.parametrize("change", SAME)
def test_importers_do_not_see(change: str, store: Store) -> None:
    one, other = (key(store, project(store, text)) for text in SAME[change])
    assert one == other


@pytest.mark.parametrize("change", DIFFERENT)
def test_importers_see(change: str, store: Store) -> None:
    one, other = (key(store, project(store, text)) for text in DIFFERENT[change])
    assert one != other


def test_importers_see_every_import_unless_re_exports_are_explicit(store: Store) -> None:
    texts = SAME["an import"]
    one, other = (key(store, project(store, text, strict=False)) for text in texts)
    assert one != other


@pytest.mark.parametrize(
    ("module", "is_seen"),
    [
        ("a: int = other()", False),
        ("a = other", True),
        ("a: 'other.Kind' = 1", True),
        ("def f(a: other) -> int: ...", True),
        ("a = Plain(other)", False),
        ("a = Boxed(other)", True),
    ],
)
def test_a_module_is_seen_through_another_if_its_interface_needs_it(
    module: str, is_seen: bool, store: Store
) -> None:
    one, other = (key(store, project(store, module, other=text)) for text in ("other = 1\n", "other = 2\n"))
    assert (one != other) == is_seen


def test_the_class_of_an_object_is_the_one_that_its_module_imports(store: Store) -> None:
    same = key(store, project(store, "a = Plain(1)")), key(store, project(store, "a = Plain(2)"))
    assert same[0] == same[1]
    bases = BASES.replace("class Plain(dict[str, Any])", "class Plain(Generic[T])")
    found = [key(store, project(store, text, bases=bases)) for text in ("a = Plain(1)", "a = Plain(2)")]
    assert found[0] != found[1]


def test_a_mistake_that_only_an_importer_shows_is_found_where_the_interface_is_wrong(
    store: Store, tmp_path: Path
) -> None:
    importer = "from .module import f\n\nlength: int = f('tea')\n"
    functions = {
        "right": "def f(text: str) -> int:\n    return len(text)",
        "other body": "def f(text: str) -> int:\n    return 0",
        "wrong": "def f(text: str) -> str:\n    return text",
    }
    trees = {
        name: project(store, text, importer=importer, other="other = 1\n") for name, text in functions.items()
    }
    interfaces = Interfaces(Closures(store))
    findings, count, _ = check_types(tmp_path / "types", interfaces, trees.values())
    keys = {name: interfaces.of_project(tree).key("src/app/importer.py") for name, tree in trees.items()}
    assert keys["right"] == keys["other body"] != keys["wrong"]
    assert [name for name in trees if ("src/app/importer.py", keys[name]) in findings] == ["wrong"]
    assert {path for path, _ in findings} <= {"src/app/importer.py", "src/app/bases.py"}
    # the package, bases, other and third once, three forms of the module and two of the importer
    assert count == 4 + 3 + 2
