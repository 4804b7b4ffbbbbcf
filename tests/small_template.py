"""A small template with three yes/no prompts, for the tests of the matrix engine."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from matrix.template import EACH, Combination, Declaration, Fold

PROJECT = "{{cookiecutter.folder}}"
COOKIECUTTER = """\
{
    "folder": "small-project",
    "greeting": true,
    "colour": true,
    "one_file": false,
    "_jinja2_env_vars": {"trim_blocks": true, "lstrip_blocks": true}
}
"""
PRE_HOOK = '''\
"""Refuse what cannot be made."""

import json

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
CHOSEN = sorted(name for name, answer in ANSWERS.items() if answer is True)
'''
POST_HOOK = '''\
"""Delete what was not chosen, and put the parts into one file if asked to."""

import json
import shutil
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
CHOSEN = sorted(name for name, answer in ANSWERS.items() if answer is True)


def edit(path, old, new):
    text = Path(path).read_text()
    assert text.count(old) == 1, (path, old)
    Path(path).write_text(text.replace(old, new))


def append(path, text):
    Path(path).write_text(Path(path).read_text() + text)


parts = Path("src/small/parts")
for name in ("colour", "greeting"):
    if name not in CHOSEN:
        (parts / f"{name}.py").unlink()
        Path(f"tests/test_{name}.py").unlink()
modules = sorted(parts.glob("[a-z]*.py"))
if "one_file" in CHOSEN:
    text = '"""Every part in one file."""\\n' + ("\\nfrom .words import word\\n" if modules else "")
    for module in modules:
        docstring, _, body = module.read_text().split("\\n\\n", 2)
        text += f"\\n# {module.stem}\\n#\\n# {docstring.strip(chr(34))}\\n\\n\\n" + body.lstrip("\\n") + "\\n"
    Path("src/small/parts.py").write_text(text.rstrip("\\n") + "\\n")
    for file in [*Path("src").rglob("*.py"), *Path("tests").rglob("*.py")]:
        text = file.read_text().replace("parts.colour import", "parts import")
        file.write_text(text.replace("parts.greeting import", "parts import"))
if "one_file" in CHOSEN or not modules:
    shutil.rmtree(parts)
'''
# The same hook as a function from files to files, so that the template can be rendered in pieces.
PURE_HOOK = '''\
"""Leave out what was not chosen, and put the parts into one file if asked to."""

import json
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
PARTS = "src/small/parts/"


def finish(files, answers):
    names = [name for name in ("colour", "greeting") if answers[name]]
    left_out = {"colour", "greeting"} - set(names)
    files = {path: text for path, text in files.items() if Path(path).stem.removeprefix("test_") not in left_out}
    if not answers.get("shout", True):
        files = {path: text for path, text in files.items() if Path(path).stem != "shout"}
    if answers["one_file"]:
        text = '"""Every part in one file."""\\n' + ("\\nfrom .words import word\\n" if names else "")
        for name in names:
            docstring, _, body = files[f"{PARTS}{name}.py"].split("\\n\\n", 2)
            text += f"\\n# {name}\\n#\\n# {docstring.strip(chr(34))}\\n\\n\\n" + body.lstrip("\\n") + "\\n"
        files["src/small/parts.py"] = text.rstrip("\\n") + "\\n"
        for path, text in files.items():
            if path.endswith(".py"):
                text = text.replace("parts.colour import", "parts import")
                files[path] = text.replace("parts.greeting import", "parts import")
    if answers["one_file"] or not names:
        files = {path: text for path, text in files.items() if not path.startswith(PARTS)}
    return files


def main():
    root = Path.cwd()
    paths = [path for path in root.rglob("*") if path.is_file()]
    before = {path.relative_to(root).as_posix(): path.read_text() for path in paths}
    after = finish(before, ANSWERS)
    for path in before.keys() - after.keys():
        (root / path).unlink()
    for path, text in after.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    for folder in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


if __name__ == "__main__":
    main()
'''
# The same hook in steps: one for each file, and one for modules that depend on each other.
BY_FILE = '''\
def finish(files, answers):
    finished = {path: finish_file(path, text, answers) for path, text in files.items()}
    kept = {path: text for path, text in finished.items() if text is not None}
    together = {path: text for path, text in kept.items() if is_shared(path, answers)}
    alone = {path: text for path, text in kept.items() if path not in together}
    return {**alone, **finish_together(together, answers)}


def finish_file(path, text, answers):
    name = Path(path).stem.removeprefix("test_")
    return None if name in ("colour", "greeting", "shout") and not answers.get(name, True) else text


def is_shared(path, answers):
    return path.endswith(".py")


def finish_together(files, answers):
    names = [name for name in ("colour", "greeting") if f"{PARTS}{name}.py" in files]
    if answers["one_file"]:
        text = '"""Every part in one file."""\\n' + ("\\nfrom .words import word\\n" if names else "")
        for name in names:
            docstring, _, body = files[f"{PARTS}{name}.py"].split("\\n\\n", 2)
            text += f"\\n# {name}\\n#\\n# {docstring.strip(chr(34))}\\n\\n\\n" + body.lstrip("\\n") + "\\n"
        files = {path: imported(text) for path, text in files.items()}
        files["src/small/parts.py"] = text.rstrip("\\n") + "\\n"
    if answers["one_file"] or not names:
        files = {path: text for path, text in files.items() if not path.startswith(PARTS)}
    return files


def imported(text: str) -> str:
    return text.replace("parts.colour import", "parts import").replace("parts.greeting import", "parts import")


'''
BY_FILE_HOOK = (
    PURE_HOOK[: PURE_HOOK.index("def finish(")] + BY_FILE + PURE_HOOK[PURE_HOOK.index("def main(") :]
)
PROBE = '''\
"""What the small project offers."""

import importlib


def listing(package):
    return [offer.__name__ for offer in importlib.import_module(f"{package}.main").OFFERS]
'''
FILES = {
    "pyproject.toml": """\
[project]
name = "small"
version = "1"

[tool.pytest]
addopts = ["--import-mode=importlib"]

[tool.mypy]
strict = true

[tool.ruff.lint]
select = ["E", "F"]
""",
    "README.md": "# A small project{{ ' that paints' if cookiecutter.colour else '' }}\n",
    "src/small/__init__.py": "",
    "src/small/words.txt": "hello\n{{ 'red\n' if cookiecutter.colour else '' }}",
    "src/small/words.py": '''\
"""Words, from the file beside this module."""

from pathlib import Path

WORDS = Path(__file__).with_name("words.txt")


def word(number: int) -> str:
    return WORDS.read_text(encoding="utf-8").splitlines()[number]
''',
    "src/small/parts/__init__.py": "",
    "src/small/parts/colour.py": '''\
"""Paints a text."""

from ..words import word

INDEX = 1


def paint(text: str) -> str:
    return f"{word(INDEX)} {text}"
''',
    "src/small/parts/greeting.py": '''\
"""Greets by name."""

from ..words import word


def greet(name: str) -> str:
    return f"{word(0)}, {name}"
''',
    "src/small/main.py": '''\
"""What is offered."""

{% if cookiecutter.colour %}
from .parts.colour import paint
{% endif %}
{% if cookiecutter.greeting %}
from .parts.greeting import greet
{% endif %}
from .words import word

OFFERS = [word{{ ", paint" if cookiecutter.colour else "" }}{{ ", greet" if cookiecutter.greeting else "" }}]
''',
    "tests/__init__.py": "",
    "tests/test_colour.py": """\
from small.parts.colour import paint


def test_a_text_is_painted() -> None:
    assert paint("door") == "red door"
""",
    "tests/test_greeting.py": """\
from small.parts.greeting import greet


def test_a_guest_is_greeted() -> None:
    assert greet("Ada") == "hello, Ada"


def test_a_stranger_is_greeted() -> None:
    assert greet("") == "hello, "
""",
    "tests/test_main.py": """\
from small.main import OFFERS


def test_something_is_offered() -> None:
    assert OFFERS
""",
    "tests/test_words.py": """\
from small.words import word


def test_the_first_word_is_hello() -> None:
    assert word(0) == "hello"
""",
    "tests/processes/__init__.py": "",
    "tests/processes/test_start.py": """\
import subprocess
import sys


def test_it_starts() -> None:
    subprocess.run([sys.executable, "-c", "import small.main"], check=True)
""",
}
CLAIMING_README = (
    FILES["README.md"]
    + """
{% if cookiecutter.shout %}
It shouts.
{% endif %}
Its tone is {{ cookiecutter.tone }}.
"""
)
# Files of prompts beside the server, which correspond to a container, a CI service and a repository.
AROUND = {
    "box.txt": """\
A box.
{% if cookiecutter.shout %}
Loud inside.
{% endif %}
{{ 'Painted.\n' if cookiecutter.colour else '' }}""",
    "services/north.txt": "north{{ ' with a box' if cookiecutter.box else '' }}\n",
    "services/south.txt": "south\n",
    "card.txt": "{{ cookiecutter.address }}\n",
    "tests/test_card.py": """\
from pathlib import Path

CARD = Path(__file__).parents[1] / "card.txt"


def test_the_card_has_an_address() -> None:
    assert CARD.read_text(encoding="utf-8").startswith("https://")
""",
}
BESIDE: dict[str, dict[str, object]] = {
    "box": {"yes": True, "no": False},
    "service": {"north": "north", "south": "south", "none": "none"},
    "address": {"": "", "here": "https://here.example/small", "there": "https://there.example/small"},
}
AROUND_HOOK = """\
def absent(answers):
    found = {"services/north.txt", "services/south.txt"} - {f"services/{answers['service']}.txt"}
    found |= set() if answers["box"] else {"box.txt"}
    return found | (set() if answers["address"] else {"card.txt", "tests/test_card.py"})


"""
# A test of the whole project that reads a file in which prompts change lines.
READING_TEST = """\
from pathlib import Path

from small.main import OFFERS

README = Path(__file__).parents[1] / "README.md"


def test_something_is_offered() -> None:
    assert OFFERS
    assert README.read_text(encoding="utf-8").startswith("# A small project")
"""
ALWAYS = {path for path in FILES if Path(path).stem.removeprefix("test_") not in ("colour", "greeting")} - {
    "src/small/parts/__init__.py"
}


def files(chosen: Combination) -> set[str]:
    """Return the expected files of a project."""
    parts = chosen - {"one_file"}
    found = ALWAYS | {f"tests/test_{name}.py" for name in parts}
    if "one_file" in chosen:
        return found | {"src/small/parts.py"}
    return found | {f"src/small/parts/{name}.py" for name in (["__init__", *parts] if parts else [])}


def listing(chosen: Combination) -> list[str]:
    """Return the expected listing of a project."""
    offers = {"colour": "paint", "greeting": "greet"}
    return ["word", *(offer for name, offer in offers.items() if name in chosen)]


@dataclass(frozen=True)
class SmallTemplate:
    """The template in a folder. Tests can plant faults in it."""

    folder: Path

    def __post_init__(self) -> None:
        for path, text in FILES.items():
            self.add(path, text)
        self.put("cookiecutter.json", COOKIECUTTER)
        self.put("hooks/pre_gen_project.py", PRE_HOOK)
        self.put("hooks/post_gen_project.py", POST_HOOK)
        self.put("probe.py", PROBE)

    @property
    def declaration(self) -> Declaration:
        return Declaration(
            template=self.folder,
            package="small",
            answers={"folder": "small-project"},
            files=files,
            probe=f"{self.folder / 'probe.py'}:listing",
            listing=listing,
            # words.txt has an additional line with the prompt `colour`.
            closures={
                "tests/test_colour.py": 1,
                "tests/test_greeting.py": 2,
                "tests/test_words.py": 2,
                "tests/test_main.py": EACH,
            },
            processes="tests/processes",
            processes_everywhere=["tests/processes/test_start.py"],
            fold=Fold("one_file", "src/small/parts", "src/small/parts.py"),
        )

    def add(self, path: str, text: str) -> None:
        """Write a file of the project."""
        self.put(f"{PROJECT}/{path}", text)

    def put(self, path: str, text: str) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")

    def plant(self, statement: str, where: Iterable[Combination], hook: str = "post") -> None:
        """Append a statement to a hook. It runs only for these combinations."""
        path = self.folder / "hooks" / f"{hook}_gen_project.py"
        line = f"if CHOSEN in {[sorted(combination) for combination in where]}:\n    {statement}\n"
        path.write_text(path.read_text(encoding="utf-8") + line, encoding="utf-8", newline="\n")

    def claim(self, *, additive: bool = True, uniform: bool = True) -> Declaration:
        """Add an additive prompt and a uniform choice. Return the declaration, which claims those requested."""
        prompts = json.loads(COOKIECUTTER) | {"shout": False, "tone": ["plain", "warm", "cold"]}
        self.put("cookiecutter.json", json.dumps(prompts))
        self.put("hooks/post_gen_project.py", PURE_HOOK)
        self.add("README.md", CLAIMING_README)
        self.add("tests/test_main.py", READING_TEST)
        self.add("src/small/shout.py", "LOUD = True\n")
        self.add("src/small/tone.txt", "a {{ cookiecutter.tone }} tone\n")

        def wanted(chosen: Combination) -> set[str]:
            base = files(chosen & {"greeting", "colour", "one_file"})
            return base | {"src/small/tone.txt", *(["src/small/shout.py"] if "shout" in chosen else [])}

        return replace(
            self.declaration,
            files=wanted,
            additive=["shout"] if additive else [],
            uniform=["tone"] if uniform else [],
        )

    def surround(self, *, by_file: bool = False) -> Declaration:
        """Call `claim`, and add three prompts beside the server, one of each kind. Return the declaration with all."""
        declaration = self.claim()
        prompts = json.loads((self.folder / "cookiecutter.json").read_text(encoding="utf-8"))
        prompts |= {"box": True, "service": ["north", "south", "none"], "address": ""}
        self.put("cookiecutter.json", json.dumps(prompts))
        hook = "hooks/post_gen_project.py"
        if by_file:
            self.put(hook, BY_FILE_HOOK)
            self.change(
                hook,
                "    name = Path(path)",
                "    if path in absent(answers):\n        return None\n    name = Path(path)",
            )
        else:
            self.change(
                hook,
                "    return files\n",
                "    return {path: files[path] for path in files.keys() - absent(answers)}\n",
            )
        self.change(hook, "def finish(", f"{AROUND_HOOK}def finish(")
        for path, text in AROUND.items():
            self.add(path, text)
        readme = "\n{{ 'See ' ~ cookiecutter.address ~ '.\n' if cookiecutter.address else '' }}"
        self.add("README.md", CLAIMING_README + readme)
        urls = "{{ '[project.urls]\nhome = \"' ~ cookiecutter.address ~ '\"\n\n' if cookiecutter.address else \"\" }}"
        self.change(f"{PROJECT}/pyproject.toml", "[tool.pytest]", f"{urls}[tool.pytest]")
        wanted = declaration.files

        def surrounded(chosen: Combination) -> set[str]:
            found = set(wanted(chosen))
            if "box=no" not in chosen:
                found.add("box.txt")
            if "service=none" not in chosen:
                found.add(f"services/{'south' if 'service=south' in chosen else 'north'}.txt")
            if {"address=here", "address=there"} & chosen:
                found |= {"card.txt", "tests/test_card.py"}
            return found

        return replace(
            declaration,
            files=surrounded,
            beside=BESIDE,
            closures={**declaration.closures, "tests/test_card.py": 2},
        )

    def change(self, path: str, old: str, new: str) -> None:
        """Replace a text that occurs once in a file of the template."""
        text = (self.folder / path).read_text(encoding="utf-8")
        assert text.count(old) == 1, (path, old)
        self.put(path, text.replace(old, new))
