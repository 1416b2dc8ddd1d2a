"""Why a hypercall may be refused: every refusal in the code that it can reach, read from that code.

Calls are followed through the types of what is called. Of a protocol's method all of that name are followed;
where a type is not told, the only method of that name. So a reason may be listed that never comes.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from paravane.abi.errno import Errno
from paravane.tools.docs.source import Class, Function

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane.tools.docs.source import Source

_REFUSAL: Final = "Refusal"
_DISPATCH: Final = frozenset({"hypercall"})
"""Methods that are not followed: a multicall's entries have their own reasons."""


class Reach:
    """What a hypercall reaches: `refusals` by errno, each a sentence, and the names of `constants` that the
    code uses, by which the structs are told that it reads by itself."""

    def __init__(self, source: Source, *handlers: Callable[..., object]) -> None:
        self._source = source
        self.refusals: dict[Errno, list[str]] = defaultdict(list)
        self.constants: set[tuple[str, str]] = set()
        found = (source.function(handler.__module__, handler.__name__) for handler in handlers)
        self._todo = [function for function in found if function is not None]
        done = set[Function]()
        while self._todo:
            function = self._todo.pop(0)
            if function not in done:
                done.add(function)
                _Body(source, function, self._todo, self).visit(function.node)

    def look_into(self, module: str, table: ast.expr) -> None:
        """Follow the functions and methods that a constant names."""
        for part in ast.walk(table):
            found = self._source.look_up(module, part.id) if isinstance(part, ast.Name) else None
            if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
                owner = self._source.look_up(module, part.value.id)
                found = self._source.method(owner, part.attr) if isinstance(owner, Class) else None
            if isinstance(found, Function):
                self._todo.append(found)

    def refused(self, errno: Errno, sentence: str) -> None:
        if sentence not in self.refusals[errno]:
            self.refusals[errno].append(sentence)


class _Body(ast.NodeVisitor):
    """One function: its refusals, and the functions that it calls."""

    def __init__(self, source: Source, function: Function, todo: list[Function], reach: Reach) -> None:
        self._source = source
        self._function = function
        self._todo = todo
        self._reach = reach
        self._locals = source.parameters(function)
        self._values: dict[str, ast.expr] = {}

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        targets = node.targets[0]
        pairs = (
            list(zip(targets.elts, node.value.elts, strict=True))
            if isinstance(targets, ast.Tuple)
            and isinstance(node.value, ast.Tuple)
            and len(targets.elts) == len(node.value.elts)
            else [(targets, node.value)]
        )
        for target, value in pairs:
            if isinstance(target, ast.Name):
                self._values[target.id] = value
                if (kind := self._type(value)) is not None:
                    self._locals[target.id] = kind

    def visit_Name(self, node: ast.Name) -> None:
        """A function that is named is passed on, or is in a table, and will be called."""
        module = self._function.module
        found = self._source.look_up(module, node.id)
        if isinstance(found, Function):
            self._todo.append(found)
        if node.id.strip("_").isupper():
            self._reach.constants.add(self._source.origin(module, node.id))
        if (table := self._source.table(module, node.id)) is not None:
            self._reach.look_into(*table)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """A property is a call, too; a method that is passed on will be called by whoever gets it."""
        self.generic_visit(node)
        owner = self._type(node.value)
        found = None if owner is None else self._source.method(owner, node.attr)
        if node.attr in _DISPATCH:
            return
        if found is not None and not found.is_stub:
            self._todo.append(found)
            return
        candidates = self._source.methods_called(node.attr)
        if found is not None or (owner is None and len(candidates) == 1):
            self._todo += candidates

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func
        if isinstance(called, ast.Name) and called.id == _REFUSAL:
            self._refusal(node)
        elif isinstance(called, ast.Name):
            found = self._source.look_up(self._function.module, called.id)
            if isinstance(found, Class) and (made := self._source.method(found, "__init__")) is not None:
                self._todo.append(made)
        self.generic_visit(node)

    def _refusal(self, node: ast.Call) -> None:
        errno, sentence = node.args[0], node.args[1]
        if isinstance(errno, ast.Name):
            errno = self._values.get(errno.id, errno)
        for part in ast.walk(errno):
            if isinstance(part, ast.Attribute) and part.attr in Errno.__members__:
                self._reach.refused(Errno[part.attr], self._text(sentence))

    def _text(self, sentence: ast.expr) -> str:
        """A sentence as it is written, with the names of what is filled in; those of texts are replaced."""
        if isinstance(sentence, ast.Constant):
            return str(sentence.value)
        if isinstance(sentence, ast.JoinedStr):
            return "".join(map(self._text, sentence.values))
        value = sentence.value if isinstance(sentence, ast.FormattedValue) else sentence
        known = self._values.get(value.id) if isinstance(value, ast.Name) else None
        return self._text(known) if isinstance(known, ast.Constant | ast.JoinedStr) else f"<{_name(value)}>"

    def _type(self, node: ast.expr) -> Class | None:
        return self._source.type_of(node, self._function.module, self._locals)


def _name(value: ast.expr) -> str:
    """What is filled in, in a word: the last name of it that says anything."""
    if isinstance(value, ast.Attribute):
        return value.attr.strip("_") if value.attr not in ("name", "value") else _name(value.value)
    if isinstance(value, ast.Name):
        return value.id.strip("_")
    if isinstance(value, ast.Call):
        return _name(value.args[0]) if value.args else _name(value.func)
    if isinstance(value, ast.BinOp):
        return _name(value.left)
    if isinstance(value, ast.Subscript):
        return _name(value.value)
    return "..."
