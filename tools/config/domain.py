"""A domain as an xl.cfg(5) file describes it: the settings that count here, each checked."""

from __future__ import annotations

import difflib
import re
from itertools import count
from typing import TYPE_CHECKING, Final, TypeVar

from paravane import Action, OnEnd
from paravane.abi.tlb import TlbKind
from paravane.classes import dataclass
from paravane.devices.block import parse_disk
from paravane.devices.console import consoles_of, parse_channel, parse_console
from paravane.devices.framebuffer import parse_vfb
from paravane.devices.net.rule_syntax import parse_rule
from paravane.devices.net.vif import parse_vif
from paravane.grants import MAX_GRANT_FRAMES, MAX_GRANT_VERSION, MAX_MAPTRACK_FRAMES, GrantLimits
from paravane.memory import MAX_VCPUS
from paravane.text import shown
from paravane.tlb.spec import MOST_ENTRIES, TlbSpec
from paravane.tools.config.syntax import ConfigError, Setting, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paravane.devices.block import Disk
    from paravane.devices.console import ConsoleSpec, ExtraConsole
    from paravane.devices.framebuffer import Vfb
    from paravane.devices.net.vif import Vif

T = TypeVar("T")

MIB: Final = 1 << 20
MOST_MEMORY: Final = 4095
"""MiB: more than any machine has for one domain."""

DEFAULT_MEMORY: Final = 32
"""MiB of a domain whose file says nothing of its memory, as libxl has it."""

_NUMBER: Final = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")

_ENDS: Final = {
    "on_poweroff": Action.DESTROY,
    "on_reboot": Action.RESTART,
    "on_watchdog": Action.DESTROY,
    "on_crash": Action.DESTROY,
    "on_soft_reset": Action.DESTROY,
}
"""xl's own defaults, but for the last: a PV domain cannot be reset in place, which is xl's."""

_WORDS: Final = [action.value for action in Action]

_KNOWN: Final = (
    *("name", "type", "builder", "kernel", "ramdisk", "cmdline", "root", "extra", "memory", "maxmem"),
    *(
        "vcpus",
        "maxvcpus",
        "disk",
        "vif",
        "console",
        "channel",
        "vfb",
        "firewall",
        "cpu_weight",
        "cap",
        "seed",
        "privileged",
        "max_event_channels",
    ),
    *("max_grant_frames", "max_maptrack_frames", "max_grant_version"),
    *("tlb", "tlb_entries", "tlb_ways"),
    *_ENDS,
)


@dataclass(frozen=True, slots=True)
class DomainSettings:
    """What a file says. Sizes are in bytes; `kernel` and `ramdisk` are names as the file has them; None is
    what it does not say. Of `max_vcpus` those beyond `vcpus` are offline at first. `warnings` are lines, with
    their places."""

    source: str
    name: str
    kernel: str
    ramdisk: str | None
    cmdline: str | None
    memory: int | None
    max_memory: int | None
    vcpus: int | None
    max_vcpus: int | None
    on_end: OnEnd
    cpu_weight: int | None
    cap: int | None
    seed: int | None
    privileged: bool
    max_event_channels: int | None
    grants: GrantLimits
    tlb: TlbSpec | None
    disks: tuple[Disk, ...]
    vifs: tuple[Vif, ...]
    console: ConsoleSpec | None
    extra_consoles: tuple[ExtraConsole, ...]
    vfbs: tuple[Vfb, ...]
    warnings: tuple[str, ...]


def read_domain(text: str, source: str) -> DomainSettings:
    """The domain of a file's text. Raises ConfigError, one line with `source` and the line's number."""
    return _Reader(parse(text, source), source).domain()


class _Reader:
    def __init__(self, settings: Mapping[str, Setting], source: str) -> None:
        self._settings = settings
        self._source = source
        self._warnings: list[str] = []

    def domain(self) -> DomainSettings:
        self._warn_of_unknown()
        self._check_kind()
        memory = self._optional("memory", 1, MOST_MEMORY)
        most = self._optional("maxmem", 1, MOST_MEMORY)
        if most is not None and most < (memory or DEFAULT_MEMORY):
            raise self._error(
                "maxmem", f"{most} MiB are less than its memory, {memory or DEFAULT_MEMORY} MiB"
            )
        vcpus = self._optional("vcpus", 1, MAX_VCPUS)
        max_vcpus = self._optional("maxvcpus", 1, MAX_VCPUS)
        if max_vcpus is not None and max_vcpus < (vcpus or 1):
            raise self._error("maxvcpus", f"{max_vcpus} are fewer than its {vcpus} vcpus")
        disks = tuple(self._each("disk", parse_disk))
        rules = tuple(self._each("firewall", parse_rule))
        numbers = count()
        vifs = tuple(self._each("vif", lambda text: parse_vif(text, next(numbers), rules)))
        console, extra_consoles = self._consoles()
        screens = count()
        vfbs = tuple(self._each("vfb", lambda text: parse_vfb(text, next(screens))))
        return DomainSettings(
            source=self._source,
            name=self._required("name"),
            kernel=self._required("kernel"),
            ramdisk=self._text("ramdisk") or None,
            cmdline=self._cmdline(),
            memory=memory and memory * MIB,
            max_memory=most and most * MIB,
            vcpus=vcpus,
            max_vcpus=max_vcpus,
            on_end=OnEnd(**{name.removeprefix("on_"): self._action(name) for name in _ENDS}),
            cpu_weight=self._optional("cpu_weight", 1, 65535),
            cap=self._optional("cap", 0, 100 * MAX_VCPUS),
            seed=self._optional("seed", 0, (1 << 63) - 1),
            privileged=self._optional("privileged", 0, 1) == 1,
            max_event_channels=self._optional("max_event_channels", 2, (1 << 31) - 1),
            grants=self._grants(),
            tlb=self._tlb(),
            disks=disks,
            vifs=vifs,
            console=console,
            extra_consoles=extra_consoles,
            vfbs=vfbs,
            warnings=tuple(self._warnings),
        )

    def _consoles(self) -> tuple[ConsoleSpec | None, tuple[ExtraConsole, ...]]:
        """Our own list of consoles, and xl's channels, which come after those."""
        specs, channels = self._each("console", parse_console), self._each("channel", parse_channel)
        try:
            return consoles_of(specs, channels)
        except ValueError as error:
            raise self._error("console" if "console" in self._settings else "channel", str(error)) from None

    def _tlb(self) -> TlbSpec | None:
        given = {
            name: self._optional(f"tlb_{name}", 1, MOST_ENTRIES)
            for name in ("entries", "ways")
            if f"tlb_{name}" in self._settings
        }
        kind = self._text("tlb")
        if kind is None:
            if given:
                raise self._error(f"tlb_{next(iter(given))}", "is for a domain with tlb")
            return None
        if kind not in TlbKind.__members__:
            raise self._error("tlb", f"{shown(kind)!r} is none of {', '.join(TlbKind.__members__)}")
        try:
            return TlbSpec(TlbKind[kind], **{name: size for name, size in given.items() if size is not None})
        except ValueError as error:
            raise self._error("tlb", str(error)) from None

    def _grants(self) -> GrantLimits:
        limits = {
            "frames": self._optional("max_grant_frames", 1, MAX_GRANT_FRAMES),
            "maptrack_frames": self._optional("max_maptrack_frames", 0, MAX_MAPTRACK_FRAMES),
            "version": self._optional("max_grant_version", 1, MAX_GRANT_VERSION),
        }
        return GrantLimits(**{name: limit for name, limit in limits.items() if limit is not None})

    def _warn_of_unknown(self) -> None:
        for name in self._settings:
            if name not in _KNOWN:
                close = difflib.get_close_matches(name, _KNOWN, 1, 0.75)
                hint = f": did you mean {close[0]}?" if close else ""
                self._warn(name, f"{name} means nothing here and is ignored{hint}")

    def _check_kind(self) -> None:
        for name, good in (("type", ("pv",)), ("builder", ("generic", "linux"))):
            kind = self._text(name)
            if kind is not None and kind not in good:
                raise self._error(name, f"{shown(kind)!r} domains cannot be run, only PV ones")

    def _cmdline(self) -> str | None:
        """`cmdline`, or what xl makes of `root` and `extra`."""
        line, root, extra = (self._text(name) for name in ("cmdline", "root", "extra"))
        if line is not None:
            for name, other in (("root", root), ("extra", extra)):
                if other is not None:
                    self._warn(name, f"{name} is ignored in favour of cmdline")
            return line
        words = [f"root={root}"] if root is not None else []
        words += [extra] if extra is not None else []
        return " ".join(words) if words else None

    def _action(self, name: str) -> Action:
        word = self._text(name)
        if word is None:
            return _ENDS[name]
        plain = word.removeprefix("coredump-")
        if plain != word and plain in _WORDS:
            raise self._error(name, f"{shown(word)}: no core can be dumped; {plain} can be had without")
        try:
            return Action(word)
        except ValueError:
            raise self._error(name, f"{shown(word)!r} is none of {', '.join(_WORDS)}") from None

    def _required(self, name: str) -> str:
        text = self._text(name)
        if not text:
            line = self._settings[name].line if name in self._settings else 1
            raise ConfigError(f"{self._source}:{line}: the domain has no {name}")
        return text

    def _text(self, name: str) -> str | None:
        setting = self._settings.get(name)
        if setting is not None and not isinstance(setting.value, str):
            raise self._error(name, f"{name} is a list and should be one text")
        return None if setting is None else str(setting.value)

    def _optional(self, name: str, least: int, most: int) -> int | None:
        return self._number(name, least, least, most) if name in self._settings else None

    def _number(self, name: str, default: int, least: int, most: int) -> int:
        text = self._text(name)
        if text is None:
            return default
        if self._settings[name].added:
            raise self._error(name, f"{name} += is for texts and lists, not for numbers")
        if not _NUMBER.fullmatch(text) or len(text) > 20:
            raise self._error(name, f"{name} is no number: {shown(text[:40])!r}")
        octal = re.fullmatch(r"([+-]?)0([0-7]+)", text)
        number = int(octal[1] + octal[2], 8) if octal else int(text, 0)
        if not least <= number <= most:
            raise self._error(name, f"{name} is from {least} to {most}, not {number}")
        return number

    def _each(self, name: str, make: Callable[[str], T]) -> list[T]:
        setting = self._settings.get(name)
        if setting is None:
            return []
        found = []
        for item in setting.value if isinstance(setting.value, list) else [setting.value]:
            if not isinstance(item, str):
                raise self._error(name, f"{name} is a list of texts, without lists in it")
            try:
                found.append(make(item))
            except ValueError as error:
                raise self._error(name, str(error)) from None
        return found

    def _warn(self, name: str, sentence: str) -> None:
        self._warnings.append(f"{self._source}:{self._settings[name].line}: {sentence}")

    def _error(self, name: str, sentence: str) -> ConfigError:
        return ConfigError(f"{self._source}:{self._settings[name].line}: {sentence}")
