"""What gets installed: one import name, every package of the checkout, and the data files they read."""

from __future__ import annotations

import configparser
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"hypervisor": "", "asm": "asm", "guest_kernels": "guest_kernels", "tools": "tools"}
"""Folder of the checkout -> where it lies inside `paravane`."""


def _sources() -> dict[str, Path]:
    """Path inside the wheel -> the file of the checkout that belongs there."""
    kinds = (".py", ".inc", ".S", ".c", ".h", ".lds", ".toml", ".txt", ".typed")
    return {
        Path("paravane", inside, path.relative_to(ROOT / folder)).as_posix(): path
        for folder, inside in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.suffix in kinds or path.name == "py.typed"
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from a copy of the sources: building in place would leave files in the checkout."""
    copy, target = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    for path in _sources().values():
        place = copy / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    # Built by the setuptools that the test extra brings: nothing is fetched.
    options = ["-q", "--no-deps", "--no-build-isolation", "-w", str(target)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(copy)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = target.glob("*.whl")
    return zipfile.ZipFile(built)


def test_only_paravane_is_installed(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"paravane"}


def test_every_source_is_installed_as_it_is(wheel: zipfile.ZipFile) -> None:
    installed = {name: wheel.read(name) for name in wheel.namelist() if not name.endswith(".md")}
    expected = {name: path.read_bytes() for name, path in _sources().items()}
    found = {name: data for name, data in installed.items() if ".dist-info/" not in name}
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def test_the_listed_packages_are_the_folders() -> None:
    """setuptools takes the list as it stands: a folder that is missing there would be missing for users."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    inits = [Path(name).parent for name in _sources() if name.endswith("/__init__.py")]
    assert sorted(listed) == sorted(".".join(folder.parts) for folder in inits)


def test_pytest_finds_the_plugin(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    told = configparser.ConfigParser()
    told.read_string(wheel.read(name).decode())
    assert dict(told["pytest11"]) == {"paravane": "paravane.testing.plugin"}
