"""What is said here of the engine's interface, beside what its package for Python says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from unicorn import unicorn_const, x86_const
from unicorn.unicorn_py3.unicorn import uclib

from paravane.cpu.engine import library_file, numbers

NAMES = [name for name in vars(numbers) if name.startswith("UC_")]


@pytest.mark.parametrize("name", NAMES)
def test_a_number_is_the_one_of_the_engines_package(name: str) -> None:
    package = x86_const if name.startswith("UC_X86_") else unicorn_const
    assert getattr(numbers, name) == getattr(package, name)


def test_the_library_is_the_one_that_the_package_loads() -> None:
    assert os.path.samefile(library_file.library_file(), uclib._name)


def test_the_package_is_asked_where_the_library_may_be_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_file, "_NAMES", {})
    assert library_file.library_file() == uclib._name


def test_another_library_can_be_chosen_as_for_the_package(tmp_path: Path) -> None:
    chosen = tmp_path / Path(uclib._name).name
    chosen.symlink_to(uclib._name)
    loaded = subprocess.run(
        [sys.executable, "-c", "from paravane.cpu.engine import library; print(library.PATH)"],
        env={**os.environ, "LIBUNICORN_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout == f"{chosen}\n"
