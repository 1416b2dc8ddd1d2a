"""Whatever is typed into the monitor, the machine goes on and the user is answered."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine
from paravane.tools.ctl.command import VERBS
from paravane.tools.monitor.commands import Commands
from paravane.tools.monitor.monitor import PROMPT, Monitor
from tests.support.small_machines import MEMORY, PRINTER, image

if TYPE_CHECKING:
    from pathlib import Path

WORDS = (
    *VERBS,
    *("list", "pause", "continue", "where", "dump", "trace", "console", "send", "help", "quit", "?", "w"),
    *("on", "off", "-", "all", "trap", "events.txt", "/", "/dev/full", "nowhere/at/all", "--force"),
    *("web", "db", "1", "2", "0", "-1", "7", "64", "9" * 30, "0x10", "x" * 500),
    *("\u00e9", "\u20ac", "'", '"', "\\", ",", "=", ";", "$(reboot)"),
    *("ram:1M,xvdb", "xvdb", "xvdb,ro", "file,xvdc", "bridge=br0", "mac=1", "script=/bin/sh", "rate=1"),
)
KEYS = b"\x03\x04\x08\x15\x17\x1b[A\x1bO\x7f\x00\x01\x1d\r\n\t\xff\xc3\x80"
LINES = 300


class Console:
    """Whoever the monitor belongs to: it stays whatever is typed."""

    focused = "web"

    def focus(self, name: str) -> None:
        self.focused = name

    def check_steering(self) -> None:
        """Anything may be done."""

    def leave(self) -> None:
        self.focused = "web"


def typed(chance: random.Random) -> bytes:
    """A line of words, with keys that edit it strewn in."""
    line = bytearray(" ".join(chance.choices(WORDS, k=chance.randrange(5))).encode())
    for _ in range(chance.randrange(3)):
        line.insert(chance.randrange(len(line) + 1), chance.choice(KEYS))
    return bytes(line) + b"\r"


def refill(machine: Machine) -> None:
    """Begin anew when one of the two domains is gone, or is called otherwise by now."""
    if any(machine.find(name) is None for name in ("web", "db")):
        for domain in [*machine.domains.values()]:
            machine.destroy(domain)
        for name in ("web", "db"):
            machine.create(image(PRINTER), DomainConfig(name, MEMORY, sink=lambda data: None))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_line_is_answered(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    chance, shown = random.Random(seed), bytearray()
    with Machine(Machine.size_for(MEMORY, MEMORY)) as machine:
        commands = Commands(Console(), lambda line: None)
        monitor = Monitor(commands.perform, shown.extend)
        with commands.about(machine):
            for _ in range(LINES):
                refill(machine)
                if not monitor.active:
                    monitor.open()
                del shown[:]
                for key in typed(chance):
                    if monitor.active:
                        monitor.key(key)
                if monitor.active:
                    assert bytes(shown).endswith(PROMPT)
                assert all(byte >= 0x20 or byte in b"\n\r\x1b" for byte in shown)
                machine.run(max_traps=3)
        assert commands.finish() is None
        assert machine.audit() == []
