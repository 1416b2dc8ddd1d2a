"""What `kernel.toml` may say: its keys, what each may hold, and one sentence for every mistake."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from typing import TYPE_CHECKING, Any, Final

from paravane.classes import NamedTuple
from paravane.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

ENVIRONMENT: Final = "pv32pae"
"""The environment, by XTF's name, that Paravane is: a 32-bit PV guest with PAE."""

ENVIRONMENTS: Final = (ENVIRONMENT, "pv64", "hvm32", "hvm32pae", "hvm32pse", "hvm64")
"""All that XTF builds tests for."""

EXIT_STATUSES: Final = (0, 3, 4, 6, 7, 8, 9)
"""What a kernel may promise: that it powers off, crashes, reboots, suspends, asks for a soft reset, misses
its watchdog, or sleeps for ever; see `paravane.ending`."""

LARGEST_TEXT: Final = 8 << 20
"""Characters of the largest file of text in a folder."""

_TLBS: Final = ("hardware", "software", "tagged")
_LARGEST_MIB: Final = 4095
_MOST_VCPUS: Final = 32
_LONGEST: Final = 86_400


class KernelFileError(ValueError):
    """A folder is no kernel's; a sentence a line says what is wrong with it."""


class Key(NamedTuple):
    """`holds` says in words what `accepts` takes; `default` is the value of a key that is not given."""

    meaning: str
    holds: str
    accepts: Callable[[Any], bool]
    default: Any


def _is_int(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value)


def _is_defines(value: Any) -> bool:
    return isinstance(value, dict) and all(
        re.fullmatch(r"[A-Za-z_.][\w.]*", name) and _is_int(number, -(1 << 31), (1 << 32) - 1)
        for name, number in value.items()
    )


def _is_hints(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(hint, str) and bool(hint) and _is_pattern(pattern) for pattern, hint in value.items()
    )


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= _LONGEST


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


KEYS: Final[Mapping[str, Key]] = {
    "description": Key("what it shows, in one line", "a text", _is_text, ""),
    "sources": Key(
        "its sources, if not all `*.S` and `*.c` of the folder",
        "a list of file names",
        _is_words,
        None,
    ),
    "memory_mib": Key(
        "memory of the domain",
        f"a whole number of MiB from 1 to {_LARGEST_MIB}",
        lambda value: _is_int(value, 1, _LARGEST_MIB),
        32,
    ),
    "vcpus": Key(
        "processors of the domain; the kernel starts all but the first",
        f"a whole number from 1 to {_MOST_VCPUS}",
        lambda value: _is_int(value, 1, _MOST_VCPUS),
        1,
    ),
    "tlb": Key(
        "the TLB that its processors have, as `paravane boot --tlb` takes it",
        "hardware, software or tagged",
        lambda value: value in _TLBS,
        None,
    ),
    "privileged": Key("whether it is the control domain of its machine", "true or false", _is_bool, False),
    "cmdline": Key("the kernel's command line", "a text", _is_text, ""),
    "ramdisk": Key("initial ramdisk", "the name of a file in the folder", _is_text, None),
    "ramdisk_kernel": Key(
        "a kernel whose image is the initial ramdisk", "a name that `paravane list` shows", _is_text, None
    ),
    "disks": Key(
        "its disks, each as `paravane boot --disk` takes it; files are in the folder",
        "a list of texts such as 'disk.img,xvda' or 'ram:8M,xvda'",
        _is_words,
        [],
    ),
    "vifs": Key(
        "its network interfaces, each as `paravane boot --vif` takes it",
        "a list of texts such as 'bridge=br0' or ''",
        _is_words,
        [],
    ),
    "consoles": Key(
        "its consoles, each as `paravane boot --console` takes it, the first the one that every domain has",
        "a list of texts such as 'stdio' or 'pty'",
        _is_words,
        [],
    ),
    "vfbs": Key(
        "its framebuffers with their keyboards, each as `paravane boot --vfb` takes it",
        "a list of texts such as 'vnc=0' or ''",
        _is_words,
        [],
    ),
    "input": Key("what is typed on its console", "a text", _is_text, ""),
    "exit_status": Key(
        "what `paravane boot` ends with",
        f"one of {', '.join(map(str, EXIT_STATUSES))}",
        lambda value: _is_int(value, 0, 255) and value in EXIT_STATUSES,
        0,
    ),
    "timeout": Key(
        "host seconds after which it counts as hung",
        f"a number of seconds, above 0 and up to {_LONGEST}",
        _is_seconds,
        60,
    ),
    "max_traps": Key(
        "traps after which it counts as hung; 0: any number",
        "a whole number from 0 on",
        lambda value: _is_int(value, 0, 1 << 62),
        0,
    ),
    "seed": Key(
        "decides which machine frames it gets",
        "a whole number from 0 to 4294967295",
        lambda value: _is_int(value, 0, (1 << 32) - 1),
        0,
    ),
    "deterministic": Key("preempt by instruction count", "true or false", _is_bool, False),
    "defines": Key(
        "symbols that every source has", "a table of symbol names and 32-bit numbers", _is_defines, {}
    ),
    "bare": Key(
        "symbols that its form for a bare PC has besides, if it has one (`paravane boot --personality full`)",
        "a table of symbol names and 32-bit numbers",
        _is_defines,
        None,
    ),
    "hints": Key(
        "what `paravane test` says of a failure, by what is found in refusals, a dump or the console",
        "a table of regular expressions and sentences",
        _is_hints,
        {},
    ),
    "environments": Key(
        "those it is written for, by XTF's names; skipped unless `pv32pae` is among them",
        f"a list of some of {', '.join(ENVIRONMENTS)}",
        lambda value: _is_words(value) and set(value) <= set(ENVIRONMENTS),
        [ENVIRONMENT],
    ),
}
"""Every key but `variations`."""

VARIATIONS: Final = "variations"
_OF_THE_FOLDER: Final = frozenset({"sources", "environments"})
"""Keys that a variation cannot have of its own."""


def read_settings(path: Path) -> dict[str, dict[str, Any]]:
    """A value for every key, by the name of the variation; the kernel itself is the one without a name.

    Raises KernelFileError for anything that is wrong, and OSError for a file that cannot be read.
    """
    try:
        told = tomllib.loads(text_of(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise KernelFileError(f"{path}: this is no TOML: {error}") from None
    variations = told.pop(VARIATIONS, {})
    if mistakes := [*_mistakes(told), *_variation_mistakes(variations)]:
        raise KernelFileError("\n".join(f"{path}: {mistake}" for mistake in mistakes))
    own = {name: told.get(name, key.default) for name, key in KEYS.items()}
    return {"": own} | {name: own | changed for name, changed in variations.items()}


def text_of(path: Path) -> str:
    """What a file of a folder says. Raises KernelFileError for what is no file of text, OSError as reading
    does."""
    try:
        with open(path, encoding="utf-8", opener=_at_once) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise KernelFileError(f"{path}: this is no file")
            text = stream.read(LARGEST_TEXT + 1)
    except UnicodeDecodeError as error:
        raise KernelFileError(f"{path}: this is no text: {error}") from None
    if len(text) > LARGEST_TEXT:
        raise KernelFileError(f"{path}: this is longer than {LARGEST_TEXT >> 20} MiB")
    return text


def _at_once(name: str, flags: int) -> int:
    """Open without waiting for whoever writes into a pipe: what it is can only be asked once it is open."""
    return os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _mistakes(told: Mapping[str, Any], what: str = "") -> Iterator[str]:
    for word, value in told.items():
        name = shown(word)
        if name not in KEYS:
            import difflib  # noqa: PLC0415 - most kernels are described without a mistake

            close = difflib.get_close_matches(name, (*KEYS, VARIATIONS), 1)
            hint = f"did you mean `{close[0]}`?" if close else f"there are {', '.join((*KEYS, VARIATIONS))}"
            yield f"there is no key `{what}{name}`: {hint}"
        elif what and name in _OF_THE_FOLDER:
            yield f"`{what}{name}` cannot differ: give `{name}` for the whole folder"
        elif not KEYS[name].accepts(value):
            yield f"`{what}{name}` must be {KEYS[name].holds}, not {value!r:.80}"


def _variation_mistakes(variations: Any) -> Iterator[str]:
    if not isinstance(variations, dict) or not all(isinstance(told, dict) for told in variations.values()):
        yield f"`{VARIATIONS}` must be tables, as in [{VARIATIONS}.small]"
        return
    for name, told in variations.items():
        if not re.fullmatch(r"[\w-]+", name, re.ASCII):
            yield f"a variation cannot be called {name!r}: its name is part of a file's"
        yield from _mistakes(told, f"{VARIATIONS}.{name}.")
