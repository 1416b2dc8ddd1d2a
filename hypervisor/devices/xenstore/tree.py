"""What xenstore is made of: paths, permissions, nodes (docs: the xenstore protocol specification)."""

from __future__ import annotations

import re
from enum import IntFlag
from typing import Final

from paravane.abi.errno import Errno
from paravane.abi.xs_wire import XENSTORE_REL_PATH_MAX
from paravane.classes import NamedTuple
from paravane.refusal import Refusal

ROOT: Final = "/"
_PATH = re.compile(r"/|(?:/[A-Za-z0-9_@-]+)+")
_DOMAIN_PREFIX = re.compile(r"/local/domain/[0-9]{1,5}/")
_RECORD_HEADER: Final = 24
_RECORD_PERMISSION: Final = 8


class Right(IntFlag):
    """What a permission entry allows. OWNER is never written down: the first entry's domain has it."""

    NONE = 0
    READ = 1
    WRITE = 2
    OWNER = 4


FULL = Right.READ | Right.WRITE | Right.OWNER
_LETTERS: Final = {"n": Right.NONE, "r": Right.READ, "w": Right.WRITE, "b": Right.READ | Right.WRITE}
_LETTER_OF: Final = {right: letter for letter, right in _LETTERS.items()}
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}")


class Permission(NamedTuple):
    """One entry: the first of a node names its owner and what everybody else may do."""

    domid: int
    right: Right

    @classmethod
    def parse(cls, text: str) -> Permission:
        """`r5`: domain 5 may read; likewise `w`, `b` (both) and `n` (nothing). Raises Refusal(EINVAL)."""
        right = _LETTERS.get(text[:1])
        number = text[1:]
        if right is None or not _NUMBER.fullmatch(number):
            raise Refusal(Errno.EINVAL, f"{text[:16]!r} is no permission")
        return cls(int(number, 16 if number[:2] in ("0x", "0X") else 10), right)

    def __str__(self) -> str:
        return f"{_LETTER_OF[self.right]}{self.domid}"


class Node(NamedTuple):
    """One node, never changed in place. `generation` counts the store's changes at the time of its own last
    one: its value, its permissions or the list of its children."""

    value: bytes
    permissions: tuple[Permission, ...]
    children: tuple[str, ...] = ()
    generation: int = 0

    @property
    def owner(self) -> int:
        return self.permissions[0].domid

    @property
    def children_size(self) -> int:
        """Bytes of the list of children, each name with its NUL."""
        return sum(map(len, self.children)) + len(self.children)

    @property
    def size(self) -> int:
        """Bytes that count for the limit on one node: those of xenstored's record."""
        fixed = _RECORD_HEADER + _RECORD_PERMISSION * len(self.permissions)
        return fixed + len(self.value) + self.children_size


def valid_path(path: str) -> bool:
    """Whether an absolute path is well formed and not too long (the domain's own prefix does not count)."""
    prefix = _DOMAIN_PREFIX.match(path)
    limit = XENSTORE_REL_PATH_MAX + (prefix.end() if prefix else 0)
    return len(path) <= limit and _PATH.fullmatch(path) is not None


def parent_of(path: str) -> str:
    """The parent of a path, which is not the root."""
    return path[: path.rindex("/")] or ROOT


def name_of(path: str) -> str:
    """The last part of a path, which is not the root."""
    return path[path.rindex("/") + 1 :]


def join(parent: str, name: str) -> str:
    return f"/{name}" if parent == ROOT else f"{parent}/{name}"


def domain_path(domid: int) -> str:
    """Where a domain's own nodes are, and what its relative paths are relative to."""
    return f"/local/domain/{domid}"
