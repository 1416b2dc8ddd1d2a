"""XS_CONTROL: what an administrator asks xenstore itself (`xenstore-control` of Xen's tools)."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from paravane.abi.errno import Errno
from paravane.devices.xenstore.messages import leading_number, strings
from paravane.devices.xenstore.tree_requests import OK
from paravane.refusal import Refusal
from paravane.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from paravane.devices.xenstore.store import Store

_QUOTAS: Final = {
    "nodes": ("nodes", "Nodes per domain"),
    "watches": ("watches", "Watches per domain"),
    "transactions": ("transactions", "Transactions per domain"),
    "outstanding": ("requests", "Outstanding requests per domain"),
    "transaction-nodes": ("transaction_nodes", "Max. number of accessed nodes per transaction"),
    "node-size": ("node_size", "Max. size of a node"),
    "permissions": ("permissions", "Max. number of permissions per node"),
}
"""xenstored's name of a quota -> the field of `Quota`, and its description."""

_LARGEST_INT: Final = 0x7FFF_FFFF

log = logging.getLogger(__name__)


def control(store: Store, payload: bytes) -> bytes:
    """Do what a command says; its answer. Raises Refusal(EINVAL) for one that xenstore has not. Those that
    would have it write files, or become another program, it has not: a trace tells what a log file would."""
    command, *words = [text.decode("latin-1") for text in strings(payload)] or [""]
    found = _COMMANDS.get(command)
    if found is None:
        raise Refusal(Errno.EINVAL, f"there is no command {command[:32]!r}")
    return found[1](store, words)


def _help(store: Store, words: list[str]) -> bytes:
    _no_words(words)
    return _text(f"{name}\t{usage}\n" for name, (usage, _) in _COMMANDS.items())


def _check(store: Store, words: list[str]) -> bytes:
    """Look whether the tree is one tree. xenstored logs what it finds, and mends it."""
    _no_words(words)
    for fault in store.check():
        log.error("xenstore: %s", fault)
    return OK


def _print(store: Store, words: list[str]) -> bytes:
    if len(words) != 1:
        raise Refusal(Errno.EINVAL, "one text can be printed")
    log.info("control: %s", shown(words[0]))
    return OK


def _quota(store: Store, words: list[str]) -> bytes:
    if not words:
        lines = (f"{name:<17}: {_value(store, name):8} {what}\n" for name, (_, what) in _QUOTAS.items())
        return _text(("Quota settings:\n", *lines))
    if words[0] == "set":
        _set_quota(store, words[1:])
        return OK
    if len(words) != 1:
        raise Refusal(Errno.EINVAL, "the quotas of one domain can be asked for")
    return _used(store, leading_number(words[0].encode("latin-1")))


def _used(store: Store, domid: int) -> bytes:
    """What a domain has of all that is limited."""
    if not store.is_known(domid):
        raise Refusal(Errno.ENOENT, f"there is no domain {domid}")
    connection = store.introduced(domid)
    counts = {"nodes": store.entries(domid)} | ({} if connection is None else connection.in_use())
    return _text((f"Domain {domid}:\n", *(f"{name:<16}: {count:8}\n" for name, count in counts.items())))


def _set_quota(store: Store, words: list[str]) -> None:
    if len(words) != 2 or words[0] not in _QUOTAS:
        raise Refusal(Errno.EINVAL, f"a quota is one of {', '.join(_QUOTAS)}, and a number")
    number = leading_number(words[1].encode("latin-1"))
    if not 0 < number <= _LARGEST_INT:
        raise Refusal(Errno.EINVAL, "a quota is a positive number")
    store.quota = replace(store.quota, **{_QUOTAS[words[0]][0]: number})


def _value(store: Store, name: str) -> int:
    value: int = getattr(store.quota, _QUOTAS[name][0])
    return value


def _no_words(words: list[str]) -> None:
    if words:
        raise Refusal(Errno.EINVAL, "nothing can follow that command")


def _text(parts: Iterable[str]) -> bytes:
    return "".join(parts).encode("latin-1") + b"\0"


_COMMANDS: Final[Mapping[str, tuple[str, Callable[[Store, list[str]], bytes]]]] = {
    "check": ("", _check),
    "print": ("<string>", _print),
    "quota": ("[set <name> <val>|<domid>]", _quota),
    "help": ("", _help),
}
