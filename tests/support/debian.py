"""Debian's packages unpacked into a cache folder, by apt-get itself and without root.

apt-get is given lists, archives and a copy of dpkg's status of its own. So it reads the machine's sources,
keys and proxies, downloads what the machine has not installed, dependencies included, and changes nothing
outside the cache. What it brought is unpacked, never installed: no maintainer script runs.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shlex
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PAUSES = (5.0, 15.0, 45.0)
"""Seconds before each further attempt: a mirror in the middle of a sync is whole again soon."""
OFFLINE = ("resolv", "connect", "unreachable")
"""Words of apt's when asking again is of no use."""
STATUS = Path("/var/lib/dpkg/status")
SYSTEM_LISTS = Path("/var/lib/apt/lists")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

REFERENCE = "bookworm"
"""The release whose packages are the measure where versions answer differently: Debian 12, with Xen 4.17."""
REFERENCE_ID = "debian-12"

OPTIONS = {
    "APT::Architecture": "amd64",
    "APT::Install-Recommends": "false",
    # Nothing here runs as root on purpose; as root the files still belong to whoever asked.
    "APT::Sandbox::User": "",
    "Acquire::Languages": "none",
    "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
    "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    "Acquire::IndexTargets::deb-src::Sources::DefaultEnabled": "false",
    "Acquire::Retries": "2",
    "Acquire::http::Timeout": "30",
    "Acquire::https::Timeout": "30",
}

WRAPPER = """#!/bin/sh
root={root}
# QEMU's programs are in libexec, with scripts in bin that look for them below /
PATH="$root/usr/lib/chromium:$root/usr/libexec:$root/usr/bin:$root/usr/sbin:$root/sbin:$PATH"
libraries="$root/usr/lib/x86_64-linux-gnu"
LD_LIBRARY_PATH="$libraries:$root/lib/x86_64-linux-gnu:$libraries/pulseaudio"
# genhtml's modules: Perl's own folders come after these
PERL5LIB="$root/usr/share/perl5"
for folder in "$root"/usr/lib/*/perl5/*; do
    [ -d "$folder" ] && PERL5LIB="$PERL5LIB:$folder"
done
export PATH LD_LIBRARY_PATH PERL5LIB
# Chromium's fonts, if the machine has none
[ -d /etc/fonts ] || export FONTCONFIG_SYSROOT="$root"
# gdb's Python, if the machine has none of its own to read its library from
for library in "$root"/usr/lib/python3.*/os.py; do
    [ -f "$library" ] && export PYTHONHOME="$root/usr"
done
exec "{name}" "$@"
"""


class Unavailable(Exception):
    """Why packages could not be fetched, in one sentence."""


class Offline(Unavailable):
    """There is no network: nothing else need be tried."""


def release() -> str:
    """This machine's distribution and its release: `debian-12`."""
    try:
        told = platform.freedesktop_os_release()
    except OSError:
        told = {}
    return "-".join([told.get("ID", "unknown"), told.get("VERSION_ID", "rolling")])


def cache_folder(name: str) -> Path:
    """Where what was fetched is kept, below the user's cache folder (XDG). `name` says of which release."""
    told = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(told) if told.startswith("/") else Path.home() / ".cache"
    return base / "paravane" / "tests" / name


class Cache:
    """A folder of unpacked packages, and which ones it holds completely.

    They come from where the machine's own come from, or from Debian's release `suite` if one is given.
    """

    def __init__(self, folder: Path, suite: str = "") -> None:
        self.folder = folder
        self._suite = suite
        self.root = folder / "root"
        """Where the packages' files lie, as they would below /."""
        self._complete = folder / "complete"

    @property
    def packages(self) -> set[str]:
        """Packages whose files are all there; one whose unpacking was cut short is not among them."""
        return set(self._complete.read_text().split()) if self._complete.is_file() else set()

    def program(self, name: str) -> Path:
        """A script that runs the unpacked `name` with its libraries and helpers (gcc's `as`)."""
        script = self.folder / "bin" / name
        if not script.is_file():
            script.parent.mkdir(exist_ok=True)
            beside = script.with_name(f".{name}.{os.getpid()}")
            beside.write_text(WRAPPER.format(root=shlex.quote(str(self.root)), name=name))
            beside.chmod(0o755)
            beside.replace(script)
        return script

    def fetch(self, names: Iterable[str], say: Callable[[str], None]) -> None:
        """Bring the packages that are not there yet, with all they depend on.

        Raises Unavailable when one of them could not be brought; the others are there then.
        """
        for program in ("apt-get", "dpkg-deb"):
            if not shutil.which(program):
                raise Unavailable(f"{program} is not on this machine")
        if self._suite and not KEYRING.is_file():
            raise Unavailable(f"only packages of Debian's {self._suite} will do, and {KEYRING} is not here")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                missing = [name for name in names if name not in self.packages]
                if missing:
                    self._fetch(missing, say)
        except OSError as error:
            raise Unavailable(f"{self.folder}: {error.strerror}") from error

    def _fetch(self, wanted: list[str], say: Callable[[str], None]) -> None:
        whose = f"Debian {self._suite}'s" if self._suite else "Debian's"
        say(f"fetching {whose} {', '.join(wanted)} into {self.folder}")
        apt = _Apt(self.folder / "apt", self._suite)
        try:
            self._unpack(wanted, apt.download_patiently(wanted))
        except Offline:
            raise
        except Unavailable as refusal:
            # A release may lack one of the packages: that must not cost the others.
            failures = [error for name in wanted if (error := self._try(apt, name))]
            if failures:
                raise failures[0] from refusal
        finally:
            apt.forget()

    def _try(self, apt: _Apt, name: str) -> Unavailable | None:
        try:
            self._unpack([name], apt.download([name]))
        except Unavailable as error:
            return error
        return None

    def _unpack(self, names: list[str], archives: list[Path]) -> None:
        done = self.packages
        self.root.mkdir(exist_ok=True)
        for archive in archives:
            _run("dpkg-deb", "-x", str(archive), str(self.root))
        beside = self._complete.with_suffix(".new")
        beside.write_text("\n".join(sorted(done.union(names))) + "\n")
        beside.replace(self._complete)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Two runs of the tests at a time: the second waits, and finds what the first brought."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class _Apt:
    """apt-get with a state of its own in `folder`, for the machine's release or another one."""

    def __init__(self, folder: Path, suite: str) -> None:
        self._folder = folder
        self._archives = folder / "archives"
        lists = folder / "lists"
        for place in (self._archives, lists):
            (place / "partial").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(STATUS, folder / "status")
        # The machine's own lists may be whole where a mirror just now is not. Newer ones replace them.
        for path in () if suite else SYSTEM_LISTS.glob("*_*"):
            if path.is_file() and os.access(path, os.R_OK) and not (lists / path.name).exists():
                shutil.copy2(path, lists / path.name)
        places = {
            "Dir::State": folder,
            "Dir::State::lists": lists,
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder,
            "Dir::Cache::archives": self._archives,
        }
        settings = [f"{key}={value}" for key, value in {**OPTIONS, **places}.items()]
        settings += ["APT::Architectures::=amd64", "APT::Architectures::=i386"]
        if suite:
            settings += self._sources_of(suite)
        self._command = ["apt-get", "-q", *(word for setting in settings for word in ("-o", setting))]

    def _sources_of(self, suite: str) -> list[str]:
        """Have apt-get know of no other release, and take its packages though newer ones are installed."""
        sources, preferences = self._folder / "sources.list", self._folder / "preferences"
        sources.write_text(f"deb [signed-by={KEYRING}] http://deb.debian.org/debian {suite} main\n")
        preferences.write_text(f"Package: *\nPin: release n={suite}\nPin-Priority: 1001\n")
        return [
            f"Dir::Etc::sourcelist={sources}",
            "Dir::Etc::sourceparts=-",
            f"Dir::Etc::preferences={preferences}",
            "Dir::Etc::preferencesparts=-",
            "APT::Get::Allow-Downgrades=true",
        ]

    def download_patiently(self, names: list[str]) -> list[Path]:
        """As `download`, with the lists fetched before, until it succeeds or asking again is of no use."""
        for pause in (*PAUSES, None):
            complaint = self._update()
            try:
                return self.download(names)
            except Unavailable as error:
                if any(word in complaint for word in OFFLINE):
                    raise Offline(complaint) from error
                if pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def download(self, names: list[str]) -> list[Path]:
        """The archives of packages and of all they need that the machine has not installed."""
        for path in self._archives.glob("*.deb"):
            path.unlink()
        _run(*self._command, "-y", "--download-only", "install", *names)
        return sorted(self._archives.glob("*.deb"))

    def _update(self) -> str:
        """Fetch the lists; what went wrong, if anything did. The lists that are there may do all the same."""
        try:
            _run(*self._command, "update", "--error-on=any")
        except Unavailable as error:
            return str(error)
        return ""

    def forget(self) -> None:
        shutil.rmtree(self._folder)


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        lines = done.stderr.splitlines() or [f"exit status {done.returncode}"]
        errors = [line for line in lines if line.startswith("E:")] or lines
        raise Unavailable(f"{command[0]}: {errors[0]}")
