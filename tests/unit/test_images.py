"""Every command that looks at a kernel takes the same: an image, packed or not, a source, or a name."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from paravane import asm, guest_kernels
from paravane.tools.cli import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one kernel as source, as image and as packed image, in which commands run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "part.inc").write_text('PRINT "found\\n"\n')
    (tmp_path / "kernel.S").write_text(
        '.include "runtime.inc"\nXEN_NOTES kernel\n.text\nmain:\n.include "part.inc"\nmovl $SIZE, %eax\nret\n'
    )
    image = asm.build([tmp_path / "kernel.S"], include=[tmp_path], defines={"SIZE": 7})
    (tmp_path / "kernel.elf").write_bytes(image)
    (tmp_path / "kernel.gz").write_bytes(gzip.compress(image))
    return tmp_path


def said(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capfd.readouterr().out


@pytest.mark.parametrize("verb", ["info", "disasm", "boot"])
def test_a_source_and_its_images_are_the_same_kernel(
    verb: str, sources: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = said(capfd, verb, "kernel.elf")
    assert plain
    assert said(capfd, verb, "kernel.gz") == plain
    assembled = said(capfd, verb, "kernel.S", "-D", "SIZE=7")
    # The line table of the image has the names that the sources were assembled by.
    assert assembled == plain.replace(f"{sources}/", "")


@pytest.mark.parametrize(("verb", "shows"), [("info", "guest:           hello 1\n"), ("disasm", "<main>:\n")])
def test_a_kernel_that_comes_with_it_is_known_by_its_name(
    verb: str, shows: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert shows in said(capfd, verb, "hello")
    (source,) = guest_kernels.load("hello").sources
    assert shows in said(capfd, verb, str(source))


@pytest.mark.parametrize("verb", ["info", "disasm", "boot"])
def test_a_source_with_errors_ends_in_its_diagnostics(
    verb: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "kernel.S"
    source.write_text("main:\n    mvol $1, %eax\n")
    assert main((verb, str(source))) == 1
    errors = capfd.readouterr().err
    assert f"{source}:2:5: error: " in errors
    assert errors.endswith("paravane: 1 error(s), nothing was built\n")


@pytest.mark.parametrize("verb", ["info", "disasm", "boot"])
def test_what_is_nothing_of_that_is_said(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main((verb, "nothing")) == 2
    assert "neither a file nor a guest kernel" in capfd.readouterr().err
