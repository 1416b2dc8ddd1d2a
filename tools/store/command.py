"""`paravane store`: look into xenstore of a machine that runs, change it, and watch it change."""

from __future__ import annotations

import os
import re
import sys
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paravane.tools import manual
from paravane.tools.arguments import positive_count
from paravane.tools.ctl.endpoint import chosen, machines, store_path
from paravane.tools.status import Status, UsageError
from paravane.tools.store.client import StoreClient, StoreError, StoreGone
from paravane.tools.streams import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

VARIABLE: Final = "XENSTORED_PATH"
_LETTERS: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\"}

_EPILOG = manual.epilog(
    """\
The words are those of Xen's xenstore-utils, which work too: what `paravane ctl
store-socket` prints is what they want in XENSTORED_PATH. Without --machine and --socket
it is the one machine of yours that runs. A path that does not begin with / is one below
/local/domain/0. Bytes that are not printable are read and written as \\x1b, \\n, \\\\.
A permission is a letter and a domain: r5, w5, b5 (both), n5 (none); the first one names
the owner, and what all others may do.""",
    statuses=(
        (Status.OK, "it is done"),
        (Status.ERRORS, "xenstore refuses it, or does not answer"),
        (Status.USAGE, "bad usage, or there is no such machine"),
        manual.INTERRUPTED,
    ),
    environment=(manual.RUNTIME_DIR, manual.STORE_PATH),
    examples=(
        ("paravane store ls /local/domain", ""),
        ("paravane store read /local/domain/1/name /local/domain/1/memory/target", ""),
        ("paravane store write /local/domain/1/control/shutdown poweroff", ""),
        ("paravane store watch -n 1 /local/domain/1/data", "prints the path of each change"),
    ),
)


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane store VERB PATH...`."""
    parser.description = "Look into xenstore of a machine that runs, change it, and watch it change."
    parser.epilog = _EPILOG
    group = parser.add_argument_group("the machine")
    group.add_argument("--machine", metavar="NAME", help="which machine (default: the only one)")
    group.add_argument("--socket", type=Path, metavar="FILE", help="xenstore's socket, wherever it is")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    ls = verbs.add_parser("ls", help="nodes and all below them, with their values")
    ls.add_argument("paths", metavar="PATH", nargs="*", help="where to begin (default: /)")
    group = ls.add_argument_group("what is shown")
    group.add_argument("-f", "--flat", action="store_true", help="whole paths instead of indented names")
    group.add_argument("-p", "--permissions", action="store_true", help="permissions as well")
    read = verbs.add_parser("read", help="the values of nodes")
    _paths(read)
    group = read.add_argument_group("what is shown")
    group.add_argument("-p", "--prefix", action="store_true", help="each value after its path")
    group.add_argument("-R", "--raw", action="store_true", help="the very bytes, and no newline")
    write = verbs.add_parser("write", help="set nodes, all together or none")
    write.add_argument("pairs", metavar="PATH VALUE", nargs="+", help="a node, and what it is to be")
    group = write.add_argument_group("values")
    group.add_argument("-R", "--raw", action="store_true", help="take \\ for itself")
    _paths(verbs.add_parser("mkdir", help="make sure that nodes exist"))
    _paths(verbs.add_parser("rm", help="remove nodes and all below them, all together or none"))
    watch = verbs.add_parser("watch", help="print the path of each change at or below nodes")
    _paths(watch)
    group = watch.add_argument_group("the end")
    group.add_argument(
        "-n", "--number", type=positive_count, metavar="N", help="end after N lines, one of them at once"
    )
    chmod = verbs.add_parser("chmod", help="say who may read and write a node")
    chmod.add_argument("path", metavar="PATH", help="the node")
    chmod.add_argument("permissions", metavar="PERMISSION", nargs="+", help="such as n0, r5")
    group = chmod.add_argument_group("which nodes")
    group.add_argument("-r", "--recurse", action="store_true", help="all nodes below it too")
    parser.set_defaults(run=_store)


def _paths(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="+", help="the node")


def _store(options: argparse.Namespace) -> int:
    try:
        with closing(StoreClient(_place(options))) as client:
            _VERBS[options.verb](client, options)
    except StoreError as error:
        say(str(error))
        return Status.ERRORS
    except StoreGone as error:
        raise UsageError(str(error), Status.ERRORS) from None
    return Status.OK


def _place(options: argparse.Namespace) -> Path:
    """The socket that is meant. Raises UsageError when no machine runs, or several do."""
    if options.socket is not None:
        if options.machine is not None:
            raise UsageError("--machine and --socket: one of them says it all")
        return Path(options.socket)
    told = os.environ.get(VARIABLE)
    if options.machine is None and told:
        return Path(told)
    return store_path(chosen(machines(), options.machine))


def _ls(client: StoreClient, options: argparse.Namespace) -> None:
    for path in options.paths or ["/"]:
        for line in _tree(client, path, 0, options):
            print(line)


def _tree(client: StoreClient, path: str, depth: int, options: argparse.Namespace) -> Iterator[str]:
    try:
        names = client.directory(path)
    except StoreError as error:
        if depth and error.name == "ENOENT":
            return  # it was removed while we came here
        raise
    for name in names:
        whole = f"{path.rstrip('/')}/{name}"
        try:
            value = client.read(whole)
            permissions = client.permissions(whole) if options.permissions else []
        except StoreError as error:
            if error.name == "ENOENT":
                continue
            raise
        head = whole if options.flat else " " * depth + name
        tail = f"  ({','.join(permissions)})" if permissions else ""
        yield f'{head} = "{_escaped(value)}"{tail}'
        yield from _tree(client, whole, depth + 1, options)


def _read(client: StoreClient, options: argparse.Namespace) -> None:
    values: list[bytes] = []

    def read() -> None:
        values[:] = [client.read(path) for path in options.paths]

    client.together(read)
    for path, value in zip(options.paths, values, strict=True):
        if options.raw:
            sys.stdout.buffer.write(value)
        else:
            print(f"{path}: {_escaped(value)}" if options.prefix else _escaped(value))


def _write(client: StoreClient, options: argparse.Namespace) -> None:
    if len(options.pairs) % 2:
        raise UsageError(f"{options.pairs[-1]!r} has no value after it")
    pairs = [
        (path, os.fsencode(value) if options.raw else _unescaped(value))
        for path, value in zip(options.pairs[::2], options.pairs[1::2], strict=True)
    ]

    def write() -> None:
        for path, value in pairs:
            client.write(path, value)

    client.together(write)


def _mkdir(client: StoreClient, options: argparse.Namespace) -> None:
    _each(client, options.paths, client.make)


def _rm(client: StoreClient, options: argparse.Namespace) -> None:
    _each(client, options.paths, client.remove)


def _watch(client: StoreClient, options: argparse.Namespace) -> None:
    for path in dict.fromkeys(options.paths):
        client.watch(path)
    for path in islice(client.events(), options.number):
        print(path, flush=True)


def _chmod(client: StoreClient, options: argparse.Namespace) -> None:
    def chmod(path: str) -> None:
        client.set_permissions(path, options.permissions)
        if options.recurse:
            for name in client.directory(path):
                chmod(f"{path.rstrip('/')}/{name}")

    _each(client, [options.path], chmod)


def _each(client: StoreClient, paths: list[str], do: Callable[[str], None]) -> None:
    """All of it or nothing."""

    def work() -> None:
        for path in paths:
            do(path)

    client.together(work)


_VERBS: Final[dict[str, Callable[[StoreClient, argparse.Namespace], None]]] = {
    "ls": _ls,
    "read": _read,
    "write": _write,
    "mkdir": _mkdir,
    "rm": _rm,
    "watch": _watch,
    "chmod": _chmod,
}


def _escaped(value: bytes) -> str:
    """A value in one printable line."""
    return value.decode("latin-1").encode("unicode_escape").decode("ascii")


def _unescaped(text: str) -> bytes:
    """The value that a word of the command line says. Raises UsageError."""
    value, meant = os.fsencode(text), rb"\\(?:x([0-9a-fA-F]{2})|([nrt\\]))"
    if b"\\" in re.sub(meant, b"", value):
        raise UsageError(f"{text!r}: \\ is followed by n, r, t, \\ or by x and two digits; see --raw")
    return re.sub(meant, _escape, value)


def _escape(match: re.Match[bytes]) -> bytes:
    digits, letter = match.groups()
    return bytes([int(digits, 16)]) if digits else _LETTERS[letter]
