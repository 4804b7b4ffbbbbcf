"""Prompts beside the server are proven in every combination, and so is that nothing of the server sees what they change."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from matrix.factoring import Factoring
from matrix.progress import Progress
from matrix.proof import Proof, Run, prove
from matrix.rendering import render
from matrix.template import Combination, Declaration
from matrix.trees import Store

from .conftest import needs_forks
from .small_template import PROJECT, READING_TEST, SmallTemplate

pytestmark = needs_forks
README = f"{PROJECT}/README.md"
Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tmp_path_factory.mktemp


def proven(declaration: Declaration, folder: Path) -> Proof:
    every = list(declaration.combinations())
    return prove(declaration, every, folder, progress=Progress(io.StringIO()))


@pytest.fixture(scope="module")
def sound(new_folder: Folder) -> Proof:
    return proven(SmallTemplate(new_folder("sound")).surround(), new_folder("run"))


def test_every_answer_beside_the_server_is_combined_with_every_other(sound: Proof) -> None:
    declaration = sound.declaration
    assert sound.problems == {}
    assert len(sound.green()) == 2**3
    assert declaration.option_combinations == 2**4 * 3 * (2 * 3 * 3)
    assert len(sound.green()) * len(declaration.variations) == declaration.option_combinations
