"""Compares a folded project, which has its patterns in one file, with its twin, which has one file for each pattern.

The tests run in the twin. This module shows, section by section, that the folded project has the same code.
"""

import ast
from collections import Counter
from dataclasses import dataclass, field

from .template import Fold
from .trees import Store, Tree

# An imported name: the module's path without its suffix, the name, and its alias.
Origin = tuple[str, str, str]


@dataclass
class Folding:
    store: Store
    fold: Fold
    _compared: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)
    _modules: dict[str, "Module"] = field(default_factory=dict)

    @property
    def root(self) -> str:
        """The folder of the package."""
        return self.fold.folder.rpartition("/")[0]

    def differences(self, folded: Tree, twin: Tree) -> list[str]:
        """Return the differences between the code of a folded project and its twin."""
        prefix = f"{self.fold.folder}/"
        modules = {
            path: self.module(path, identity)
            for path, identity in twin.items()
            if path.startswith(prefix) and not path.endswith("/__init__.py")
        }
        owners: dict[str, str] = {}
        found = []
        for path, module in modules.items():
            for name in module.names:
                if name in owners:
                    found.append(f"{path} and {owners[name]}.py both define {name}")
                owners[name] = path.removesuffix(".py")
            if module.looks_up:
                found.append(
                    f"{path} has a relative import in its code, which leads elsewhere from {self.fold.file}"
                )
        if self.fold.file not in folded:
            return [*found, f"{self.fold.file} is missing"]
        found += self.compare_sections(self.store.text(folded[self.fold.file]), modules)
        for path, identity in folded.items():
            if path in twin and identity != twin[path]:
                versions = (path, identity, twin[path])
                if versions not in self._compared:
                    self._compared[versions] = self.compare_rest(*versions, owners)
                found += self._compared[versions]
        return found

    def module(self, path: str, identity: str) -> "Module":
        if identity not in self._modules:
            self._modules[identity] = read_module(path, self.store.text(identity), self.root)
        return self._modules[identity]

    def compare_sections(self, text: str, modules: dict[str, "Module"]) -> list[str]:
        """Check that the folded file contains each module's body unchanged, and otherwise only their imports."""
        found = []
        for path, module in modules.items():
            name = path.rpartition("/")[2].removesuffix(".py")
            start = text.find(f"\n# {name}\n")
            end = text.find(f"\n\n\n{module.body}\n", start)
            if start < 0 or end < 0:
                found.append(f"{self.fold.file} does not hold the body of {path} as it is")
                continue
            comment = text[start:end].strip("\n").splitlines()
            if not all(line.startswith("#") for line in comment):
                found.append(f"{self.fold.file} has more than a comment before the body of {path}")
            text = text[:start] + "\n" + text[end + len(module.body) + 3 :]
        rest = read_module(self.fold.file, text, self.root)
        if rest.body.strip():
            found.append(f"{self.fold.file} holds more than its modules: {rest.body.strip()[:80]!r}")
        wanted = {origin for module in modules.values() for origin in module.origins}
        if set(rest.origins) != wanted:
            found.append(
                f"{self.fold.file} imports other names than its modules: {set(rest.origins) ^ wanted}"
            )
        return found

    def compare_rest(self, path: str, folded: str, twin: str, owners: dict[str, str]) -> list[str]:
        """Compare two versions of a file. Its imports may come from the folded file or from the modules.

        Data files outside the package, such as a README, may differ.
        """
        if not path.endswith(".py"):
            inside = path.startswith(f"{self.root}/")
            return [f"{path} is other data than without {self.fold.prompt}"] if inside else []
        one = read_module(path, self.store.text(folded), self.root)
        other = read_module(path, self.store.text(twin), self.root)
        target = self.fold.file.removesuffix(".py")
        origins = [
            (owners.get(name, module), name, alias) if module == target else (module, name, alias)
            for module, name, alias in one.origins
        ]
        if Counter(origins) != Counter(other.origins):
            return [f"{path} imports other names than without {self.fold.prompt}"]
        if one.code != other.code:
            return [f"{path} is other code than without {self.fold.prompt}"]
        return []


@dataclass(frozen=True)
class Module:
    """A parsed module.

    `origins` are its top-level imports, `body` is the text after the last one, `code` is the dumped AST without these
    imports, and `names` are its definitions. `looks_up` is true if it has relative imports inside its code.
    """

    origins: tuple[Origin, ...]
    body: str
    code: str
    names: frozenset[str]
    looks_up: bool


def read_module(path: str, source: str, root: str) -> Module:
    tree = ast.parse(source)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    others = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    docstring = 1 if ast.get_docstring(tree) is not None else 0
    last = imports[-1].end_lineno if imports else (others[0].end_lineno if docstring else 0)
    body = "".join(source.splitlines(keepends=True)[last or 0 :]).strip("\n")
    code = "\n".join(ast.dump(node) for node in others)
    origins = tuple(origin for node in imports for origin in origins_of(path, node, root))
    inner = [inner for node in others for inner in ast.walk(node) if isinstance(inner, ast.ImportFrom)]
    return Module(origins, body, code, frozenset(defined(others)), any(node.level for node in inner))


def origins_of(path: str, node: ast.Import | ast.ImportFrom, root: str) -> list[Origin]:
    """Return the names that a statement imports. Relative and absolute imports of the package give the same path."""
    if isinstance(node, ast.Import):
        return [(alias.name, "", alias.asname or "") for alias in node.names]
    module = (node.module or "").replace(".", "/")
    sources, _, package = root.rpartition("/")
    if node.level:
        module = "/".join([*path.split("/")[: -node.level], *filter(None, [module])])
    elif module.split("/")[0] == package:
        module = f"{sources}/{module}"
    return [(module, alias.name, alias.asname or "") for alias in node.names]


def defined(statements: list[ast.stmt]) -> set[str]:
    """Return the names that statements define, without imported names."""
    names = set()
    for node in statements:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names
