"""Who imports whom in the checkout, by the sources alone: imports for type checkers count like any other."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "hypervisor": "paravane",
    "asm": "paravane.asm",
    "guest_kernels": "paravane.guest_kernels",
    "tools": "paravane.tools",
}
"""Folder of the checkout -> the package it is installed as."""

Graph = dict[str, set[str]]


def modules() -> dict[str, Path]:
    """Dotted name of every module that is installed -> its file."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


@functools.cache
def module_graph() -> Graph:
    """Module -> the modules of ours that it imports, wherever in the file it does so."""
    known = modules()
    return {
        name: {_owner(target, known) for target in _names(path)} - {name, ""} for name, path in known.items()
    }


def unit(path: Path) -> str:
    """What a file belongs to in the table of arrows: its folder, or for a file right in hypervisor/ itself.

    The public face, hypervisor/__init__.py, is the unit `paravane`.
    """
    inside = path.relative_to(ROOT)
    if inside.parent != Path("hypervisor"):
        return inside.parent.as_posix().removeprefix("hypervisor/")
    return "paravane" if inside.stem == "__init__" else inside.stem


def unit_graph() -> Graph:
    """Unit -> the units it imports from."""
    known = modules()
    graph: Graph = {unit(path): set() for path in known.values()}
    for name, targets in module_graph().items():
        graph[unit(known[name])] |= {unit(known[target]) for target in targets}
    return {name: targets - {name} for name, targets in graph.items()}


def circles(graph: Mapping[str, set[str]]) -> list[frozenset[str]]:
    """The groups of two or more whose members all reach each other (strongly connected components)."""
    reach = {name: _reachable(graph, name) for name in graph}
    groups = {
        frozenset(other for other in reach[name] if name in reach[other])
        for name in graph
        if name in reach[name]
    }
    return sorted(groups, key=sorted)


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    left = list(graph[start])
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left.extend(graph[name])
    return seen


def _names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            # `from a import b`: b may be a module of the package a, or a name in it.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _owner(name: str, known: Mapping[str, Path]) -> str:
    """The module of ours that a dotted name is, or is a name in; "" for one of somebody else's."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name
