"""What a command loads before it does anything, and how it ends: counted, since time is the host's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

MODULES = """
import json, sys
from paravane.tools.cli import main
status = main(sys.argv[1:])
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
sys.exit(status)
"""

DEAR_CLASSES = """
import json, sys
from paravane.cpu import plain_code
from paravane.tools.cli import main
status = main(sys.argv[1:])
modules = [module for name, module in sys.modules.items() if name.startswith("paravane.")]
made = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
ours = [cls for cls in made if cls.__module__.startswith("paravane.")]
dataclasses = [cls for cls in ours if "__dataclass_fields__" in vars(cls)]
tuples = [cls for cls in ours if "_field_defaults" in vars(cls)]
dear = [str(cls) for cls in dataclasses if "_compared" not in vars(cls)]
dear += [str(cls) for cls in tuples if "_replace" in vars(cls)]
print(json.dumps([len(ours), sorted(dear), plain_code._plain.cache_info().currsize]), file=sys.stderr)
sys.exit(status)
"""

ENDING = """
import atexit, gc, sys
from paravane.tools.cli import command
atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count() > 1000, file=sys.stderr))
command()
"""

UNUSED_BY_A_BOOT = (
    *("capstone", "elftools", "keystone", "unicorn"),
    *("asyncio", "difflib", "multiprocessing", "pickle", "platform", "socket", "subprocess", "uuid"),
    *(
        "paravane.abi.physdev",
        "paravane.asm",
        "paravane.compiler",
        "paravane.debug.listener",
        "paravane.follow.coverage",
    ),
    *(
        "paravane.devices.block",
        "paravane.devices.framebuffer",
        "paravane.devices.net",
        "paravane.devices.vnc",
    ),
    *("paravane.devices.console.extra", "paravane.devices.xenbus.attachment", "paravane.grants.backend"),
    *("paravane.image.dwarf_lines", "paravane.report.vcpu"),
    *("paravane.tools.ctl.actions", "paravane.tools.monitor.commands", "paravane.tools.trace_output"),
    *("paravane.trace.entry", "paravane.trace.filters", "paravane.trace.records", "paravane.trace.text"),
    *("paravane.trace.sources.observers", "paravane.trace.writer"),
)
HYPERCALLS_OF_HELLO = {"event_channel", "sched", "version"}
OTHERS = {"console_io", "domctl", "grant_table", "memory_op", "mmu", "physdev", "sysctl", "traps", "vcpu_op"}

MOST_MODULES = 324
"""Of ours, in a boot of `hello`. Who has to raise this asks first whether every boot needs the new ones."""


def _run(script: str, *arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=300,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
    )


def _modules(*arguments: str, cache: Path) -> set[str]:
    ended = _run(MODULES, *arguments, cache=cache)
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stderr.splitlines()[-1]))


def test_a_boot_loads_what_the_guest_needs_and_no_more(tmp_path: Path) -> None:
    """Of a kernel that was assembled before."""
    assert "paravane.asm" in _modules("boot", "hello", cache=tmp_path)
    loaded = _modules("boot", "hello", cache=tmp_path)
    assert sorted(loaded.intersection(UNUSED_BY_A_BOOT)) == []
    assert {name for name in OTHERS if f"paravane.hypercalls.{name}" in loaded} == set()
    assert {name for name in HYPERCALLS_OF_HELLO if f"paravane.hypercalls.{name}" in loaded} >= {"sched"}
    assert len([name for name in loaded if name.startswith("paravane")]) <= MOST_MODULES


def test_a_boot_compiles_no_methods_of_classes_nor_long_patterns(tmp_path: Path) -> None:
    """Its dataclasses and named tuples are those of `paravane.classes`, which compile what is called."""
    ended = _run(DEAR_CLASSES, "boot", "hello", cache=tmp_path)
    assert ended.returncode == 0, ended.stderr
    classes, dear, patterns = json.loads(ended.stderr.splitlines()[-1])
    assert classes > 300
    assert [name for name in dear if "paravane.asm" not in name] == []
    assert patterns == 0


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [
        (("--help",), ("unicorn", "paravane.machine", "paravane.asm", "paravane.hypercalls")),
        (("list",), ("unicorn", "paravane.machine", "paravane.asm", "paravane.hypercalls")),
        (("build", "--help"), ("unicorn", "paravane.machine", "paravane.hypercalls")),
        (("trace", "--help"), ("unicorn", "paravane.machine", "paravane.asm")),
        (("--version",), ("unicorn", "paravane.machine", "paravane.asm", "paravane.hypercalls")),
    ],
    ids=lambda value: value[0],
)
def test_a_verb_that_runs_no_guest_loads_no_machine(
    arguments: tuple[str, ...], unused: tuple[str, ...], tmp_path: Path
) -> None:
    assert sorted(_modules(*arguments, cache=tmp_path).intersection(unused)) == []


def test_the_command_ends_once_its_output_is_out_and_exit_functions_have_run(tmp_path: Path) -> None:
    ended = _run(ENDING, "list", cache=tmp_path)
    assert ended.returncode == 0
    assert ended.stdout == _run(MODULES, "list", cache=tmp_path).stdout
    assert "hello" in ended.stdout
    # The collector was off while the command was loaded, and what had been is not collected any more.
    assert ended.stderr == "True True\n"


def test_the_command_ends_with_the_status_of_what_it_ran(tmp_path: Path) -> None:
    ended = _run(ENDING, "boot", "no-such-kernel", cache=tmp_path)
    assert ended.returncode == 2
    assert "no-such-kernel is neither a file nor a guest kernel" in ended.stderr
