"""The faults that `mutations.py` plants match the current template, and its page lists each one."""

import pytest

from .combinations import PACKAGE, SKELETON, TEMPLATE
from .faults import FAULTS, Fault
from .mutations import PAGE, SURVIVED, file_of, planted

EACH = [(where, fault) for where, faults in FAULTS.items() for fault in faults]
NO_CODE = {"__init__.py", "process_data.py"}


@pytest.mark.parametrize(
    ("where", "fault"), EACH, ids=lambda item: item if isinstance(item, str) else item.what
)
def test_a_fault_can_be_planted(where: str, fault: Fault) -> None:
    assert planted(TEMPLATE, where, fault) != file_of(TEMPLATE, where).read_text(encoding="utf-8")


def test_there_is_a_fault_for_every_module_and_hook() -> None:
    package = SKELETON / PACKAGE
    modules = {
        path.relative_to(package).as_posix() for path in package.rglob("*.py") if path.name not in NO_CODE
    }
    hooks = {path.relative_to(TEMPLATE).as_posix() for path in (TEMPLATE / "hooks").glob("*.py")}
    assert modules | hooks <= FAULTS.keys()


def test_the_page_has_a_row_for_every_fault_and_none_survived() -> None:
    rows = PAGE.read_text(encoding="utf-8")
    assert [fault.what for where, fault in EACH if f"| `{where}` | {fault.what} | " not in rows] == []
    assert SURVIVED not in rows
