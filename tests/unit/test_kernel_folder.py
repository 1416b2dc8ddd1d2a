"""A kernel's folder: what `kernel.toml` may say, and what is said of its mistakes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from paravane import boot
from paravane.guest_kernels.folder import load_folder, load_variations
from paravane.guest_kernels.settings import KEYS, VARIATIONS, KernelFileError
from tests.support.boot import HOST_TIMEOUT

SAYS = (
    '.include "runtime.inc"\nXEN_NOTES\n.text\nmain:\nmovl start_info, %eax\n'
    "addl $START_INFO_cmd_line, %eax\ncall print_string\nret\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "greet"
    made.mkdir()
    (made / "greet.S").write_text(SAYS)
    (made / "kernel.toml").write_text("")
    return made


def mistakes(folder: Path, toml: str) -> list[str]:
    (folder / "kernel.toml").write_text(toml)
    with pytest.raises(KernelFileError) as caught:
        load_folder(folder)
    lines = str(caught.value).splitlines()
    assert all(str(folder) in line for line in lines)
    return [line.partition(": ")[2] for line in lines]


def test_everything_has_a_default(folder: Path) -> None:
    kernel = load_folder(folder)
    assert (kernel.name, kernel.memory, kernel.cmdline, kernel.exit_status) == ("greet", 32 << 20, "", 0)
    assert kernel.sources == (folder / "greet.S",)
    assert kernel.environments == ("pv32pae",)


def test_everything_reaches_the_boot(folder: Path) -> None:
    (folder / "kernel.toml").write_text('memory_mib = 8\ncmdline = "from the file"\ninput = "typed"\n')
    assert boot(folder, timeout=HOST_TIMEOUT).console == "from the file"
    assert boot(folder, cmdline="said", timeout=HOST_TIMEOUT).console == "said"


def test_the_folder_itself_may_be_where_one_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert load_folder(Path()).name == "greet"


def test_a_variation_changes_what_it_says(folder: Path) -> None:
    (folder / "kernel.toml").write_text('cmdline = "long"\n[variations.short]\nmemory_mib = 8\n')
    (folder / "expected.txt").write_text("long")
    own, short = load_variations(folder)
    assert (own.name, short.name) == ("greet", "greet~short")
    assert (own.memory, short.memory) == (32 << 20, 8 << 20)
    assert short.cmdline == "long"
    assert short.expectation == folder / "expected.txt"
    (folder / "expected-short.txt").write_text("short")
    assert load_variations(folder)[1].expected == "short"


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ('memory_mib = "8"', "`memory_mib` must be a whole number of MiB from 1 to 4095, not '8'"),
        ("memory_mib = 0", "`memory_mib` must be a whole number of MiB from 1 to 4095, not 0"),
        ("memory_mib = true", "`memory_mib` must be a whole number of MiB from 1 to 4095, not True"),
        ("cmdline = 1", "`cmdline` must be a text, not 1"),
        ("exit_status = 1", "`exit_status` must be one of 0, 3, 4, 6, 7, 8, 9, not 1"),
        ("timeout = 0", "`timeout` must be a number of seconds, above 0 and up to 86400, not 0"),
        ("timeout = nan", "`timeout` must be a number of seconds, above 0 and up to 86400, not nan"),
        ("deterministic = 1", "`deterministic` must be true or false, not 1"),
        ("sources = []", "`sources` must be a list of file names, not []"),
        (
            'defines = {"1A" = 1}',
            "`defines` must be a table of symbol names and 32-bit numbers, not {'1A': 1}",
        ),
        ("hints = {'(' = 'x'}", "`hints` must be a table of regular expressions and sentences, not {'(': "),
        ('memory_mb = 8\n"x\\ny" = 1', "there is no key `memory_mb`: did you mean `memory_mib`?"),
        ("variations = 1", "`variations` must be tables, as in [variations.small]"),
        ('[variations."a/b"]', "a variation cannot be called 'a/b': its name is part of a file's"),
        (
            "[variations.a]\nsources = []",
            "`variations.a.sources` cannot differ: give `sources` for",
        ),
        ("[variations.a]\nseed = -1", "`variations.a.seed` must be a whole number from 0 to 4294967295"),
        ("memory_mib 8", "this is no TOML: "),
        ('ramdisk = "gone"', "there is no file 'gone' in the folder"),
        ('ramdisk_kernel = "gone"', "ramdisk_kernel is 'gone', which `paravane list` does not show"),
        (
            'ramdisk_kernel = "hello"\nramdisk = "greet.S"',
            "a kernel has one ramdisk: either ramdisk or ramdisk_kernel",
        ),
        ('sources = ["gone.S"]', "there is no file 'gone.S' in the folder"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(folder: Path, toml: str, sentence: str) -> None:
    assert mistakes(folder, toml)[0].startswith(sentence)


def test_every_mistake_is_told(folder: Path) -> None:
    assert len(mistakes(folder, 'memory_mib = 0\nseed = -1\nenvironments = ["pv16"]\n')) == 3


def test_a_folder_without_a_source_is_told(folder: Path) -> None:
    (folder / "greet.S").unlink()
    with pytest.raises(KernelFileError, match=re.escape("there is no source in it: no *.S and no *.c")):
        load_folder(folder)


def test_settings_that_are_no_file_of_text_are_told_and_not_waited_for(folder: Path) -> None:
    settings = folder / "kernel.toml"
    settings.write_bytes(b"\xff")
    with pytest.raises(KernelFileError, match="this is no text"):
        load_folder(folder)
    settings.unlink()
    os.mkfifo(settings)
    with pytest.raises(KernelFileError, match="this is no file"):
        load_folder(folder)


def test_a_folder_that_is_no_kernels_is_told(tmp_path: Path) -> None:
    with pytest.raises(KernelFileError, match="no kernel.s folder, for it has no kernel.toml"):
        load_folder(tmp_path)


def test_the_page_lists_every_key() -> None:
    page = (Path(__file__).parents[2] / "hypervisor" / "testing" / "README.md").read_text()
    told = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert told == [*KEYS, VARIATIONS]
