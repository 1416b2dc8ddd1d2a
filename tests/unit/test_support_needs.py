"""How the tests come by real guests and tools on a machine that has none, with a play apt-get and without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import debian
from tests.support.debian import Cache, Unavailable
from tests.support.needs import BUSYBOX, GRUB, PROGRAMS, Needs

ROOT = Path(__file__).parents[2]

APT = """#!/bin/sh
echo "$@" >> {log}
for word; do
    case $word in
        Dir::Cache::archives=*) archives=${{word#*=}} ;;
        update) [ -f {folder}/update-fails ] && {{ cat {folder}/update-fails >&2; exit 100; }}; exit 0 ;;
    esac
done
[ -f {folder}/download-fails ] && {{ rm {folder}/download-fails; echo 'E: Hash Sum mismatch' >&2; exit 100; }}
shift_to_names=
for word; do
    [ -n "$shift_to_names" ] && {{
        [ "$word" = {unknown} ] && {{ echo "E: Unable to locate package $word" >&2; exit 100; }}
        : > "$archives/$word.deb"
    }}
    [ "$word" = install ] && shift_to_names=yes
done
exit 0
"""
# An archive is empty; its name says what it would hold.
DPKG_DEB = """#!/bin/sh
[ -f {folder}/disk-full ] && {{ echo 'dpkg-deb: error: No space left on device' >&2; exit 2; }}
case $2 in
    *grub-xen-host*) file=usr/lib/grub-xen/grub-i386-xen.bin ;;
    *busybox*) file=bin/busybox ;;
    *binutils*) file=usr/bin/ld ;;
    *) file=other ;;
esac
mkdir -p "$3/$(dirname $file)" && printf '#!/bin/sh\\necho "$LD_LIBRARY_PATH" "$@"\\n' > "$3/$file"
chmod +x "$3/$file"
"""


class Machine:
    """A machine with nothing on it but a play apt-get and dpkg-deb."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.log.touch()
        self.cache = Cache(folder / "cache")
        self.said: list[str] = []

    def install(self, *, unknown: str = "nothing") -> None:
        for name, text in {"apt-get": APT, "dpkg-deb": DPKG_DEB}.items():
            script = self.folder / name
            script.write_text(text.format(folder=self.folder, log=self.log, unknown=unknown))
            script.chmod(0o755)

    def tell(self, name: str, text: str = "") -> None:
        (self.folder / name).write_text(text)

    def needs(self) -> Needs:
        found = Needs(self.cache, machine=self.folder / "empty", path="")
        found.say = self.said.append
        return found

    def asked(self, verb: str) -> int:
        return sum(verb in line.split() for line in self.log.read_text().splitlines())


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    made.install()
    status = tmp_path / "status"
    status.touch()
    monkeypatch.setattr(debian, "STATUS", status)
    monkeypatch.setattr(debian, "SYSTEM_LISTS", tmp_path / "none")
    monkeypatch.setattr(debian, "KEYRING", status)
    monkeypatch.setattr(debian, "PAUSES", (0.0, 0.0))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("PARAVANE_BUSYBOX", raising=False)
    return made


def test_everything_is_fetched_at_the_first_need_and_only_once(machine: Machine) -> None:
    found = machine.needs()
    assert found.have(GRUB) == machine.cache.root / "usr/lib/grub-xen/grub-i386-xen.bin"
    assert found.have(BUSYBOX) == machine.cache.root / "bin/busybox"
    assert machine.needs().have(GRUB) == found.have(GRUB)
    assert machine.asked("install") == 1
    assert len(machine.said) == 1
    assert not (machine.cache.folder / "apt").exists(), "lists and archives are of no more use"


def test_where_versions_answer_differently_only_the_reference_will_do(machine: Machine) -> None:
    reference = Cache(machine.folder / "reference", "bookworm")
    (machine.folder / "ld").write_text("#!/bin/sh\necho another release\n")
    (machine.folder / "ld").chmod(0o755)
    found = Needs(machine.cache, reference, machine=machine.folder, path=str(machine.folder))
    found.say = machine.said.append
    assert found.have(PROGRAMS["ld"]) == reference.folder / "bin/ld"
    assert found.have(BUSYBOX) == machine.cache.root / "bin/busybox"
    assert "binutils" not in machine.cache.packages
    assert "busybox-static:i386" not in reference.packages
    of_reference, of_machine = [line for line in machine.log.read_text().splitlines() if " install " in line]
    assert "Dir::Etc::sourceparts=-" in of_reference
    assert "Dir::Etc::sourceparts" not in of_machine


def test_a_machine_without_debians_keys_says_so(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "KEYRING", machine.folder / "none")
    found = Needs(machine.cache, Cache(machine.folder / "reference", "bookworm"), path="")
    found.say = machine.said.append
    with pytest.raises(Unavailable, match="only packages of Debian's bookworm will do"):
        found.have(GRUB)
    assert found.have(BUSYBOX).is_file()


def test_a_program_that_is_not_installed_finds_its_own_libraries(machine: Machine) -> None:
    script = machine.needs().have(PROGRAMS["ld"])
    done = subprocess.run([script, "a b", "$c"], capture_output=True, text=True, check=True)
    root = machine.cache.root
    libraries = f"{root}/usr/lib/x86_64-linux-gnu"
    assert done.stdout == f"{libraries}:{root}/lib/x86_64-linux-gnu:{libraries}/pulseaudio a b $c\n"


def test_what_the_user_names_is_taken(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAVANE_BUSYBOX", str(machine.log))
    assert machine.needs().have(BUSYBOX) == machine.log
    monkeypatch.setenv("PARAVANE_BUSYBOX", "/nowhere/busybox")
    with pytest.raises(Unavailable, match="PARAVANE_BUSYBOX says /nowhere/busybox, which is no file"):
        machine.needs().have(BUSYBOX)
    assert machine.asked("install") == 0


def test_a_mirror_in_the_middle_of_a_sync_is_asked_again(machine: Machine) -> None:
    machine.tell("update-fails", "E: Failed to fetch x  File has unexpected size. Mirror sync in progress?")
    machine.tell("download-fails")
    assert machine.needs().have(GRUB).is_file()
    assert (machine.asked("update"), machine.asked("install")) == (2, 2)


def test_without_a_network_nothing_is_asked_twice(machine: Machine) -> None:
    machine.tell("update-fails", "E: Failed to fetch x  Temporary failure resolving 'deb.debian.org'")
    machine.tell("download-fails")
    for _ in range(2):
        with pytest.raises(Unavailable, match="Temporary failure resolving"):
            machine.needs().have(GRUB)
    assert machine.asked("update") == 1
    machine.needs().retry()
    assert machine.needs().have(GRUB).is_file()


def test_a_package_that_a_release_lacks_does_not_cost_the_others(machine: Machine) -> None:
    machine.install(unknown="gdb")
    found = machine.needs()
    assert found.have(GRUB).is_file()
    with pytest.raises(Unavailable, match="Unable to locate package gdb"):
        found.have(PROGRAMS["gdb"])


def test_a_full_disk_leaves_nothing_that_looks_complete(machine: Machine) -> None:
    machine.tell("disk-full")
    with pytest.raises(Unavailable, match="No space left on device"):
        machine.needs().have(GRUB)
    assert machine.cache.packages == set()
    (machine.folder / "disk-full").unlink()
    machine.needs().retry()
    assert machine.needs().have(GRUB).is_file()


def test_a_machine_without_apt_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="apt-get is not on this machine"):
        Cache(tmp_path / "cache").fetch(["gdb"], print)
    assert list(tmp_path.iterdir()) == []


NEEDY = """
import pytest
from tests.support import needs
def test_guest():
    needs.require(needs.{piece})
def test_other():
    pass
"""


def _pytest(folder: Path, *options: str, piece: str, environment: dict[str, str]) -> tuple[int, str]:
    """A run of its own, with our conftest, on one test that needs a piece and one that does not."""
    (folder / "test_needy.py").write_text(NEEDY.format(piece=piece))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
    ]
    done = subprocess.run(
        [*command, *options, str(folder)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST")} | environment,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("options", "status"), [((), 0), (("--strict-guests",), 1)])
def test_what_is_missing_is_said_once_and_fails_only_the_strict(
    tmp_path: Path, options: tuple[str, ...], status: int
) -> None:
    environment = {"PARAVANE_BUSYBOX": "/nowhere/busybox"}
    got, text = _pytest(tmp_path, *options, piece="BUSYBOX", environment=environment)
    assert got == status, text
    assert "1 passed, 1 skipped" in text
    assert text.count("/nowhere/busybox") == 1
    assert "needs busybox for i386 (Debian's busybox-static:i386)" in text
    assert text.count("python3 -m tests.support.needs") == 1


def test_the_strict_are_content_with_nothing_missing(tmp_path: Path) -> None:
    environment = {"PARAVANE_BUSYBOX": __file__}
    got, text = _pytest(tmp_path, "--strict-guests", piece="BUSYBOX", environment=environment)
    assert got == 0, text
    assert "2 passed" in text
