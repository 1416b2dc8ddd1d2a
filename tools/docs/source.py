"""The code of the hypervisor as data: functions, classes, what names stand for, and the types of expressions.

Types are followed as far as annotations and constructors tell them, which in a package that is annotated
throughout is nearly everywhere. What they do not tell is None.
"""

from __future__ import annotations

import ast
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDERS: Final = frozenset({"hypercalls", "memory", "events", "traps", "time", "sched"})
"""Where the owners are whom hypercalls ask, beside the modules of the package itself."""

_TAKES: Final = frozenset({"get", "pop", "setdefault"})
"""Methods of containers that give an element."""

Node = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function or method; `owner` is its class, if any."""

    module: str
    name: str
    node: Node
    owner: Class | None

    @property
    def is_stub(self) -> bool:
        """Whether it only says what others do, as a protocol's method does."""
        last = self.node.body[-1]
        return isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant)


@dataclass(slots=True, eq=False)
class Class:
    """A class: its methods by name; its attributes, each by its annotation, or by what a method gives it."""

    module: str
    name: str
    bases: list[ast.expr]
    methods: dict[str, Function] = field(default_factory=dict)
    annotations: dict[str, ast.expr] = field(default_factory=dict)
    given: dict[str, tuple[Function, ast.expr]] = field(default_factory=dict)


Known = Function | Class
Locals = Mapping[str, Class]
"""Local names whose class is known."""


class Source:
    """Every module that a hypercall may reach."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, Known]] = defaultdict(dict)
        self._imports: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
        self._methods: dict[str, list[Function]] = defaultdict(list)
        self._tables: dict[tuple[str, str], ast.expr] = {}
        for module, tree in _modules():
            self._read(module, tree)

    def function(self, module: str, name: str) -> Function | None:
        found = self._names[module].get(name)
        return found if isinstance(found, Function) else None

    def look_up(self, module: str, name: str) -> Known | None:
        """What a name stands for in a module, however often it was imported from one to the next."""
        seen = set[tuple[str, str]]()
        while (module, name) not in seen:
            seen.add((module, name))
            if name in self._names[module]:
                return self._names[module][name]
            module, name = self._imports[module].get(name, (module, name))
        return None

    def origin(self, module: str, name: str) -> tuple[str, str]:
        """The module and name that a name was imported from; itself if it was not."""
        return self._imports[module].get(name, (module, name))

    def method(self, owner: Class, name: str) -> Function | None:
        """A method of a class or of its bases."""
        if name in owner.methods:
            return owner.methods[name]
        for base in owner.bases:
            found = self.annotated(owner.module, base)
            if found is not None and (inherited := self.method(found, name)) is not None:
                return inherited
        return None

    def methods_called(self, name: str) -> list[Function]:
        """The methods of all classes that have this name."""
        return self._methods[name]

    def annotated(self, module: str, annotation: ast.expr | None) -> Class | None:
        """The class that an annotation names; of `X | None` it is X."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        if isinstance(annotation, ast.BinOp):
            return self.annotated(module, annotation.left) or self.annotated(module, annotation.right)
        if isinstance(annotation, ast.Name):
            found = self.look_up(module, annotation.id)
            return found if isinstance(found, Class) else None
        return None

    def attribute(self, owner: Class, name: str) -> Class | None:
        """The class of an attribute or property."""
        if name in owner.annotations:
            return self.annotated(owner.module, owner.annotations[name])
        if name in owner.given:
            function, value = owner.given[name]
            return self.type_of(value, function.module, self.parameters(function))
        if name in owner.methods:
            return self.annotated(owner.module, owner.methods[name].node.returns)
        for base in owner.bases:
            inherited = self.annotated(owner.module, base)
            if inherited is not None and (kind := self.attribute(inherited, name)) is not None:
                return kind
        return None

    def parameters(self, function: Function) -> dict[str, Class]:
        """The classes of a function's parameters, as far as they are ours."""
        arguments = function.node.args
        found = {}
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            kind = self.annotated(function.module, argument.annotation)
            if kind is not None:
                found[argument.arg] = kind
        if function.owner is not None and arguments.args:
            found[arguments.args[0].arg] = function.owner
        return found

    def type_of(self, node: ast.expr, module: str, names: Locals) -> Class | None:
        """The class of an expression in a module."""
        if isinstance(node, ast.Name):
            return names.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self.type_of(node.value, module, names)
            return None if owner is None else self.attribute(owner, node.attr)
        if isinstance(node, ast.Subscript):
            return self._element(node.value, module, names)
        if not isinstance(node, ast.Call):
            return None
        if isinstance(node.func, ast.Attribute) and node.func.attr in _TAKES:
            return self._element(node.func.value, module, names)
        found: Known | None = None
        if isinstance(node.func, ast.Name):
            found = self.look_up(module, node.func.id)
        elif isinstance(node.func, ast.Attribute):
            owner = self.type_of(node.func.value, module, names)
            found = None if owner is None else self.method(owner, node.func.attr)
        return self.annotated(found.module, found.node.returns) if isinstance(found, Function) else found

    def _element(self, container: ast.expr, module: str, names: Locals) -> Class | None:
        """The class of what is in a container, which is an attribute with an annotation such as
        `dict[int, Port]`."""
        owner = self.type_of(container.value, module, names) if isinstance(container, ast.Attribute) else None
        if owner is None or not isinstance(container, ast.Attribute):
            return None
        annotation = owner.annotations.get(container.attr)
        if not isinstance(annotation, ast.Subscript):
            return None
        inside = annotation.slice
        return self.annotated(owner.module, inside.elts[-1] if isinstance(inside, ast.Tuple) else inside)

    def table(self, module: str, name: str) -> tuple[str, ast.expr] | None:
        """The module and value of a constant, which may be a table of functions."""
        home = self.origin(module, name)
        return (home[0], self._tables[home]) if home in self._tables else None

    def _read(self, module: str, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    self._imports[module][alias.asname or alias.name] = (node.module, alias.name)
        for node in tree.body:
            if isinstance(node, Node):
                self._names[module][node.name] = Function(module, node.name, node, None)
            elif isinstance(node, ast.ClassDef):
                self._names[module][node.name] = self._class(module, node)

            elif (
                isinstance(node, ast.AnnAssign)
                and node.value is not None
                and isinstance(node.target, ast.Name)
            ):
                self._tables[module, node.target.id] = node.value
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._tables[module, node.targets[0].id] = node.value

    def _class(self, module: str, node: ast.ClassDef) -> Class:
        made = Class(module, node.name, node.bases)
        for part in node.body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                made.annotations[part.target.id] = part.annotation
            elif isinstance(part, Node):
                method = Function(module, part.name, part, made)
                made.methods[part.name] = method
                self._methods[part.name].append(method)
                _note_assigned(made, method)
        return made


@cache
def of_hypervisor() -> Source:
    """The sources of the hypervisor of this process, which are read once however many pages ask for them."""
    return Source()


def _note_assigned(owner: Class, method: Function) -> None:
    """The attributes that a method gives to `self`."""
    for node in ast.walk(method.node):
        if isinstance(node, ast.AnnAssign) and (name := _of_self(node.target)):
            owner.annotations[name] = node.annotation
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and (name := _of_self(node.targets[0])):
            owner.given.setdefault(name, (method, node.value))


def _of_self(target: ast.expr) -> str:
    own = (
        isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self"
    )
    return target.attr if own and isinstance(target, ast.Attribute) else ""


def _modules() -> Iterator[tuple[str, ast.Module]]:
    spec = find_spec("paravane")
    assert spec is not None
    for top in spec.submodule_search_locations or ():
        for folder, inside, files in os.walk(top, followlinks=True):
            path = Path(folder)
            if path == Path(top):
                inside[:] = [name for name in inside if name in _FOLDERS]
            for file in sorted(files):
                if file.endswith(".py"):
                    parts = (path / file).relative_to(top).with_suffix("").parts
                    name = ".".join(("paravane", *(part for part in parts if part != "__init__")))
                    yield name, ast.parse((path / file).read_bytes())
