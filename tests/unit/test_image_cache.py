"""Images kept in the user's cache folder: used while they hold, no matter what becomes of the folder."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paravane.asm.elf_writer import write_elf
from paravane.tools import build, image_cache
from paravane.tools.cli import main
from paravane.tools.image_cache import Entry, ImageCache, Request

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

SOURCE = '.include "runtime.inc"\nXEN_NOTES kept\n.text\nmain: PRINT "first\\n"\nret\n.include "part.inc"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a kernel of two files, current for the test; the cache is its `cache`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "part.inc").write_text('.warning "mind the gap"\n')
    (tmp_path / "kernel.S").write_text(SOURCE)
    return tmp_path


@pytest.fixture
def request_of(folder: Path) -> Request:
    return Request((folder / "kernel.S",), (folder / "early", folder / "include"), {"DEBUG": 1})


def assembled(request: Request) -> Entry | None:
    """Assemble and keep; then what the cache has."""
    cache = image_cache.of_user()
    assert cache is not None
    build.entry(request, cache)
    return cache.find(request)


def found(request: Request) -> bool:
    cache = image_cache.of_user()
    assert cache is not None
    return cache.find(request) is not None


def test_what_is_kept_is_what_was_assembled(request_of: Request) -> None:
    assert not found(request_of)
    entry = assembled(request_of)
    program = build.assemble(request_of.sources, request_of.include, request_of.defines)
    assert entry == Entry(write_elf(program), program.inputs, program.warnings)
    assert "mind the gap" in program.warnings[0]


def _edit_source(folder: Path) -> None:
    (folder / "kernel.S").write_text(SOURCE + "nop\n")


def _edit_include(folder: Path) -> None:
    (folder / "include" / "part.inc").write_text("nop\n")


def _shadow_include(folder: Path) -> None:
    (folder / "early").mkdir()
    (folder / "early" / "part.inc").write_text("nop\n")


def _remove_include(folder: Path) -> None:
    (folder / "include" / "part.inc").unlink()


def _flip_a_bit(folder: Path) -> None:
    for path in (folder / "cache").rglob("*.image"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)


def _cut(folder: Path) -> None:
    for path in (folder / "cache").rglob("*.image"):
        path.write_bytes(path.read_bytes()[:100])


def _other_shape(folder: Path) -> None:
    for path in (folder / "cache").rglob("*.image"):
        path.write_bytes(b"[1, 2]\n")


def _too_deep(folder: Path) -> None:
    for path in (folder / "cache").rglob("*.image"):
        path.write_bytes(b"[" * 100_000 + b"\n")


def _no_file(folder: Path) -> None:
    for path in (folder / "cache").rglob("*.image"):
        path.unlink()
        os.mkfifo(path)


CHANGES = (
    _edit_source,
    _edit_include,
    _shadow_include,
    _remove_include,
    _flip_a_bit,
    _cut,
    _other_shape,
    _too_deep,
    _no_file,
)


@pytest.mark.parametrize("change", CHANGES)
def test_an_entry_that_does_not_hold_is_none(
    change: Callable[[Path], None], folder: Path, request_of: Request
) -> None:
    assert assembled(request_of) is not None
    change(folder)
    assert not found(request_of)


def test_an_entry_that_somebody_else_wrote_is_none(
    request_of: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache folder may be one that others can write to."""
    assert assembled(request_of) is not None
    somebody = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody)
    assert not found(request_of)


def test_other_definitions_names_and_assemblers_have_other_entries(
    folder: Path, request_of: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert assembled(request_of) is not None
    sources, include = request_of.sources, request_of.include
    assert not found(Request(sources, include, {"DEBUG": 2}))
    assert not found(Request(sources, include[1:], {"DEBUG": 1}))
    relative = [path.relative_to(folder) for path in sources]
    assert not found(Request(relative, include, {"DEBUG": 1})), "the line table has the name as it was given"
    monkeypatch.setattr(image_cache, "_assembler", lambda: "of another version")
    assert not found(request_of)


@pytest.mark.parametrize("name", ["kernel.S", "include/part.inc", "include/data"])
def test_a_file_that_changed_meanwhile_makes_no_entry(name: str, folder: Path, request_of: Request) -> None:
    """Even one whose time does not tell: the entry is for what was read, wherever it is now."""
    (folder / "include" / "data").write_bytes(b"old")
    with (folder / "kernel.S").open("a") as stream:
        stream.write('.incbin "data"\n')
    cache, program = (
        image_cache.of_user(),
        build.assemble(request_of.sources, request_of.include, request_of.defines),
    )
    assert cache is not None
    old = (folder / name).read_bytes()
    (folder / "other").write_bytes(old + b"\n")
    os.utime(folder / "other", (1, 1))
    (folder / "other").replace(folder / name)
    cache.keep(request_of, program, write_elf(program))
    assert not found(request_of)
    (folder / name).write_bytes(old)
    assert found(request_of)


def test_a_file_that_changed_between_two_reads_makes_no_entry(folder: Path, request_of: Request) -> None:
    """Neither of its contents is what the image was made from."""
    cache, part = image_cache.of_user(), folder / "include" / "part.inc"
    assert cache is not None
    program = build.assemble(request_of.sources, request_of.include, request_of.defines)
    before = part.read_bytes()
    later = hashlib.sha256(b"nop").hexdigest()
    twice = replace(program, contents=(*program.contents, (part, later)))
    assert twice.inputs == program.inputs
    cache.keep(request_of, twice, write_elf(program))
    for contents in (before, b"nop"):
        part.write_bytes(contents)
        assert not found(request_of)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_pipe, _endless, Path.mkdir])
def test_what_is_no_file_any_more_is_not_waited_for(
    make: Callable[[Path], None], folder: Path, request_of: Request
) -> None:
    assert assembled(request_of) is not None
    (folder / "kernel.S").unlink()
    make(folder / "kernel.S")
    assert not found(request_of)


def test_a_cache_that_cannot_be_is_none(
    folder: Path, request_of: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "file"))
    assert assembled(request_of) is None


def test_the_oldest_entries_go(folder: Path, request_of: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cache, "KEPT", 2)
    for age, number in enumerate(range(4)):
        assert assembled(Request(request_of.sources, request_of.include, {"N": number})) is not None
        for path in (folder / "cache").rglob("*.image"):
            os.utime(path, ns=(10**9 * age, path.stat().st_mtime_ns - 10**9))
    kept = [n for n in range(4) if found(Request(request_of.sources, request_of.include, {"N": n}))]
    assert kept == [2, 3]


def test_what_a_killed_process_left_goes(folder: Path, request_of: Request) -> None:
    assert assembled(request_of) is not None
    (place,) = {path.parent for path in (folder / "cache").rglob("*.image")}
    left, being_written = place / ".abc.one", place / ".abc.two"
    left.touch()
    being_written.touch()
    os.utime(left, (0, 0))
    assert assembled(Request(request_of.sources, request_of.include, {"N": 1})) is not None
    assert not left.exists()
    assert being_written.exists()


def test_boot_uses_it_and_says_the_same(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    for _ in range(2):
        assert main(["boot", "kernel.S", "-I", "include"]) == 0
        said.append(capfd.readouterr())
        monkeypatch.setattr(build, "assemble", None)  # the second time nothing is assembled
    assert said[0] == said[1]
    assert said[0].out == "first\n"
    assert "mind the gap" in said[0].err


def test_an_entry_keeps_its_sources_from_being_overwritten(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for trace, status in (("trace", 0), ("include/part.inc", 2)):
        assert main(["boot", "kernel.S", "-I", "include", "--trace", trace]) == status
    assert "would overwrite" in capfd.readouterr().err


def test_a_relative_cache_folder_is_ignored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(folder))
    cache = image_cache.of_user()
    assert isinstance(cache, ImageCache)
    assert main(["boot", "kernel.S", "-I", "include"]) == 0
    assert list((folder / ".cache" / "paravane" / "images").glob("*.image"))
    assert not (folder / "here").exists()
