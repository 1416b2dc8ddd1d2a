"""Paths, permissions and sizes."""

from __future__ import annotations

import pytest

from paravane.abi.errno import Errno
from paravane.devices.xenstore.tree import (
    Node,
    Permission,
    Right,
    join,
    name_of,
    parent_of,
    valid_path,
)
from paravane.refusal import Refusal


@pytest.mark.parametrize(
    "path", ["/", "/a", "/a/b-c_d@E9", "/local/domain/1/" + "x" * 2048, "/" + "y" * 2047]
)
def test_well_formed_paths(path: str) -> None:
    assert valid_path(path)


@pytest.mark.parametrize(
    "path",
    ["", "a", "a/b", "/a/", "//", "//a", "/a//b", "/a b", "/a\n", "/ä", "/a.b", "/a+b", "@special"]
    + ["/" + "y" * 2048, "/local/domain/1/" + "x" * 2049, "/local/domain/123456/" + "x" * 2048],
)
def test_malformed_paths(path: str) -> None:
    assert not valid_path(path)


def test_taking_paths_apart() -> None:
    assert (parent_of("/a"), name_of("/a"), join("/", "a")) == ("/", "a", "/a")
    assert (parent_of("/a/b"), name_of("/a/b"), join("/a", "b")) == ("/a", "b", "/a/b")


@pytest.mark.parametrize(
    ("text", "permission"),
    [
        ("n0", Permission(0, Right.NONE)),
        ("r5", Permission(5, Right.READ)),
        ("w32751", Permission(32751, Right.WRITE)),
        ("b0x10", Permission(16, Right.READ | Right.WRITE)),
    ],
)
def test_permissions_are_read_as_xenstored_reads_them(text: str, permission: Permission) -> None:
    assert Permission.parse(text) == permission


@pytest.mark.parametrize(
    "text", ["", "r", "x5", "5", "r5 ", "r-1", "r5r", "rr5", "r0x", "r99999999999", "r٣"]
)
def test_what_is_no_permission_is_einval(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        Permission.parse(text)
    assert caught.value.errno is Errno.EINVAL


def test_permissions_are_shown_as_they_are_read() -> None:
    assert [str(Permission.parse(text)) for text in ("n0", "r1", "w2", "b3")] == ["n0", "r1", "w2", "b3"]


def test_a_nodes_size_is_that_of_xenstoreds_record() -> None:
    node = Node(b"12345", (Permission(0, Right.NONE), Permission(1, Right.READ)), ("ab", "c"))
    assert node.size == 24 + 2 * 8 + 5 + len("ab\0c\0")
