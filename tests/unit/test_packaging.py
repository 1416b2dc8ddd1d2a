"""What gets installed: one import name, every package of the checkout, and the data files they read."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from paravane.gateway import native
from tests.support.needs import path_with, tool

pytestmark = pytest.mark.both_modes

ROOT = Path(__file__).parents[2]
FOLDERS = {"hypervisor": "", "asm": "asm", "guest_kernels": "guest_kernels", "tools": "tools"}
"""Folder of the checkout -> where it lies inside `paravane`."""


def _sources() -> dict[str, Path]:
    """Path inside the wheel -> the file of the checkout that belongs there."""
    kinds = (".py", ".inc", ".S", ".c", ".h", ".lds", ".toml", ".txt", ".typed", ".html", ".css", ".js")
    return {
        Path("paravane", inside, path.relative_to(ROOT / folder)).as_posix(): path
        for folder, inside in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.suffix in kinds or path.name == "py.typed"
    }


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources: building in place would leave files in the checkout."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    for path in _sources().values():
        place = copy / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel, built where there is a C compiler."""
    target = tmp_path_factory.mktemp("wheel")
    # Built by the setuptools that the test extra brings: nothing is fetched.
    options = ["-q", "--no-deps", "--no-build-isolation", "-w", str(target)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(checkout)]
    environment = {**os.environ, "PATH": path_with("gcc", "as", "ld"), "CC": tool("gcc")}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    (built,) = target.glob("*.whl")
    return zipfile.ZipFile(built)


def test_only_paravane_is_installed(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"paravane"}


def test_every_source_is_installed_as_it_is(wheel: zipfile.ZipFile) -> None:
    installed = {name: wheel.read(name) for name in wheel.namelist() if not name.endswith((".md", ".so"))}
    expected = {name: path.read_bytes() for name, path in _sources().items()}
    found = {name: data for name, data in installed.items() if ".dist-info/" not in name}
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def test_the_native_library_is_inside_for_all_releases_of_python(wheel: zipfile.ZipFile) -> None:
    libraries = [name for name in wheel.namelist() if name.endswith(".so")]
    assert libraries == ["paravane/gateway/_native.abi3.so"]
    assert wheel.filename is not None
    assert "-cp311-abi3-" in wheel.filename


def test_the_library_of_the_wheel_serves_this_release(
    wheel: zipfile.ZipFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = wheel.extract("paravane/gateway/_native.abi3.so", tmp_path)
    monkeypatch.setenv(native.SWITCH, path)
    assert native.find() is not None, native.report()


def test_the_library_is_made_of_every_file_in_its_folder() -> None:
    """A source that is missing there is a symbol that is missing for users; a header, a stale build."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    (module,) = told
    for kind, listed in ((".c", module["sources"]), (".h", module["depends"])):
        folder = (ROOT / "hypervisor" / "gateway").glob(f"*{kind}")
        assert sorted(listed) == sorted(str(path.relative_to(ROOT)) for path in folder)


def test_without_a_compiler_the_build_succeeds_without_the_library(checkout: Path, tmp_path: Path) -> None:
    build = ["build_ext", "--build-lib", str(tmp_path / "lib"), "--build-temp", str(tmp_path / "temp")]
    done = subprocess.run(
        [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", *build],
        cwd=checkout,
        env={**os.environ, "CC": "false"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.so")) == []


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
