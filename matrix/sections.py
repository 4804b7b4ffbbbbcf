"""Splits the template of a text file into sections. The file is the concatenation of their texts.

A README reads every prompt, so it has a different form for every combination. Each section reads only a few prompts.
A section starts with a line that is not indented, so a list and its heading are in one section.
"""

from collections.abc import Callable, Iterator, Sequence

from jinja2 import Environment, nodes

# Nodes that may assign or print in ways that this module does not analyze.
OPAQUE = (
    nodes.AssignBlock,
    nodes.Block,
    nodes.CallBlock,
    nodes.EvalContextModifier,
    nodes.ExprStmt,
    nodes.Extends,
    nodes.FromImport,
    nodes.Import,
    nodes.Include,
    nodes.NSRef,
)
# Methods that mutate lists, sets and mappings.
CHANGING = {
    *("add", "append", "clear", "difference_update", "discard", "extend", "insert", "intersection_update"),
    *("pop", "popitem", "remove", "reverse", "setdefault", "sort", "symmetric_difference_update", "update"),
}


Reads = Callable[[nodes.Template], frozenset[str]]


def sections(environment: Environment, source: str, reads: Reads) -> list[nodes.Template]:
    """Return the templates of the sections, each with the assignments that it uses.

    Adjacent sections that read the same prompts are merged. A template that cannot be split is returned as one
    section.
    """
    tree = environment.parse(source)
    if not tree.body or any(tree.find_all(OPAQUE)) or not all(is_plain(node, tree) for node in tree.body):
        return [tree]
    merged: list[tuple[list[nodes.Node], list[nodes.Node], frozenset[str]]] = []
    before: list[nodes.Node] = []
    for section in group(tree.body):
        if all(map(is_definition, section)):
            before += section
            continue
        read = reads(template_of(environment, [*needed(section, before), *section]))
        if merged and merged[-1][2] == read:
            merged[-1][0].extend(section)
        else:
            merged.append((section, [*before], read))
        before += [node for node in section if is_assigning(node)]
    if not merged:
        return [tree]
    return [template_of(environment, [*needed(section, known), *section]) for section, known, _ in merged]


def template_of(environment: Environment, body: list[nodes.Node]) -> nodes.Template:
    template = nodes.Template(body, lineno=1)
    template.set_environment(environment)
    return template


# The name of a mutated object that is not a variable.
UNKNOWN = "?"


def is_plain(node: nodes.Node, tree: nodes.Template) -> bool:
    """Return whether a statement can be in a section: only definitions and loops may change variables."""
    if UNKNOWN in changed(node):
        return False
    if is_definition(node):
        return is_plain_definition(node, tree)
    if not isinstance(node, nodes.Output | nodes.If | nodes.For):
        return False
    names = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
    called = [call.node for call in node.find_all(nodes.Call)]
    if any(isinstance(item, nodes.Name) and item.name in names for item in called):
        return False  # calls an object that may have state
    return isinstance(node, nodes.For) or not (any(node.find_all(nodes.Assign)) or any(changed(node)))


def is_plain_definition(node: nodes.Node, tree: nodes.Template) -> bool:
    if isinstance(node, nodes.Macro):
        return not any(changed(node))
    if isinstance(node, nodes.Assign):
        # The assignment creates an alias of an object that is mutated.
        return not (
            isinstance(node.node, nodes.Name) and {node.node.name, *assigned(node)} & {*changed(tree)}
        )
    return all(is_plain(inner, tree) for branch in branches(node) for inner in branch)


def is_definition(node: nodes.Node) -> bool:
    """Return whether a statement only defines variables or macros."""
    if isinstance(node, nodes.Assign | nodes.Macro):
        return True
    inner = [item for branch in branches(node) for item in branch] if isinstance(node, nodes.If) else []
    return bool(inner) and all(map(is_definition, inner))


def is_assigning(node: nodes.Node) -> bool:
    return is_definition(node) or (isinstance(node, nodes.For) and any(changed(node)))


def changed(node: nodes.Node) -> Iterator[str]:
    """Yield the variables that a method call mutates."""
    for call in node.find_all(nodes.Call):
        method = call.node
        if isinstance(method, nodes.Getattr) and method.attr in CHANGING:
            owner = method.node
            yield owner.name if isinstance(owner, nodes.Name) else UNKNOWN


def needed(section: Sequence[nodes.Node], before: list[nodes.Node]) -> list[nodes.Node]:
    """Return the assignments that a section depends on. The output of loops is discarded."""
    names = {name.name for node in section for name in every(node, nodes.Name)}
    used: set[int] = set()
    while True:
        more = {
            number
            for number, node in enumerate(before)
            if number not in used and names & {*changed(node), *assigned(node)}
        }
        if not more:
            break
        used |= more
        names |= {name.name for number in more for name in every(before[number], nodes.Name)}
    return [unprinted(before[number]) for number in sorted(used)]


def every(node: nodes.Node, kind: type[nodes.Name]) -> Iterator[nodes.Name]:
    if isinstance(node, kind):
        yield node
    yield from node.find_all(kind)


def assigned(node: nodes.Node) -> Iterator[str]:
    if isinstance(node, nodes.Macro):
        yield node.name
    elif isinstance(node, nodes.Assign):
        for name in every(node.target, nodes.Name):
            yield name.name
    elif is_definition(node):
        for branch in branches(node):
            for inner in branch:
                yield from assigned(inner)


def unprinted(node: nodes.Node) -> nodes.Node:
    if is_definition(node):
        return node
    return nodes.AssignBlock(nodes.Name("_unprinted", "store", lineno=1), None, [node], lineno=1)


def group(body: Sequence[nodes.Node]) -> Iterator[list[nodes.Node]]:
    """Yield the statements of each section."""
    section: list[nodes.Node] = []
    at_start = True
    for node in atoms(body):
        if is_definition(node):
            # Keep a definition before a section separate, so that the section does not read its prompts.
            if section:
                section.append(node)
            else:
                yield [node]
            continue
        if at_start and section and begins(node):
            yield section
            section = []
        section.append(node)
        at_start = ends(node, at_start)
    if section:
        yield section


def atoms(body: Sequence[nodes.Node]) -> Iterator[nodes.Node]:
    """Yield the statements, with text split into lines."""
    for node in body:
        if not isinstance(node, nodes.Output):
            yield node
            continue
        for item in node.nodes:
            if isinstance(item, nodes.TemplateData):
                for line in item.data.splitlines(keepends=True):
                    yield nodes.Output([nodes.TemplateData(line, lineno=item.lineno)], lineno=item.lineno)
            else:
                yield nodes.Output([item], lineno=node.lineno)


def text_of(node: nodes.Node, place: int) -> str | None:
    """Return the text at the start (0) or end (-1) of a statement, or None if it is not constant."""
    if isinstance(node, nodes.Output):
        item = node.nodes[place]
        return item.data if isinstance(item, nodes.TemplateData) else None
    return None


def branches(node: nodes.Node) -> list[list[nodes.Node]]:
    if isinstance(node, nodes.If):
        return [node.body, *(other.body for other in node.elif_), node.else_]
    return [node.body, node.else_] if isinstance(node, nodes.For) else []


def begins(node: nodes.Node) -> bool:
    """Return whether the output of a statement always starts with a line that is not indented."""
    if text := text_of(node, 0):
        first = text.lstrip("\n")[:1]
        return bool(first) and not first.isspace()
    found = branches(node)
    return bool(found) and all(not branch or begins(branch[0]) for branch in found)


def ends(node: nodes.Node, at_start: bool) -> bool:
    """Return whether the output after a statement is always at the start of a line."""
    if text := text_of(node, -1):
        return text.endswith("\n")
    found = branches(node)
    return bool(found) and all(ends(branch[-1], at_start) if branch else at_start for branch in found)
