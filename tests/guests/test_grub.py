"""Debian's GRUB for 32-bit PV, unmodified: a kernel nobody here wrote."""

import re

from tests.guests.harness import paravane
from tests.support.needs import GRUB, require

SCRIPT = b"echo hi\nxen_cat domid\nhalt\n"


def _plain(console: bytes) -> list[str]:
    """The lines a person sees, without the terminal's escape sequences."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.decode("utf-8", "replace"))
    return [line.strip() for line in re.split(r"[\r\n]+", text)]


def test_grub_shows_its_prompt_and_obeys_typed_commands() -> None:
    result = paravane("boot", str(require(GRUB)), "--memory", "64M", stdin=SCRIPT)
    lines = _plain(result.stdout)
    assert result.returncode == 0, result.stderr.decode()
    assert any(line.startswith("grub>") for line in lines), lines
    assert "hi" in lines
    assert "1" in lines
    assert result.stderr == b""


def test_grub_boots_without_a_broken_rule_in_the_frame_table() -> None:
    result = paravane("boot", str(require(GRUB)), "--memory", "64M", "--audit", stdin=SCRIPT)
    assert result.returncode == 0, result.stderr.decode()
    assert b"audit: no difference" in result.stderr


def test_grub_asks_for_a_reboot_and_the_command_says_so() -> None:
    result = paravane("boot", str(require(GRUB)), "--memory", "64M", "--on-reboot", "stop", stdin=b"reboot\n")
    assert result.returncode == 4, result.stderr.decode()
