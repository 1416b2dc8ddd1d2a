"""What tests need besides Python: real guests, and GNU's tools to compare with.

Each is looked for on the machine, then in the cache of unpacked packages. The first test that finds one in
neither has all that is missing fetched. A test that cannot have its piece is skipped, and the summary at the
end of the run says so once.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.debian import REFERENCE, REFERENCE_ID, Cache, Unavailable, cache_folder, release

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NOT_AGAIN = 600.0
"""Seconds before a fetch that failed is tried again: without a network each run would wait for it."""
COMMAND = "python3 -m tests.support.needs"
"""Fetches everything, and says where each piece is."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing that tests need, the package that has it, and where it lies below / or the cache's root."""

    what: str
    package: str
    paths: tuple[str, ...]
    """Where the file may lie; the first that is there is taken."""
    on_machine: bool = True
    """Whether a file of this name on the machine is the right one."""
    program: bool = False
    """Whether it is run by name: the machine's is the one in PATH."""
    variable: str = ""
    """Environment variable in which a user may give the file."""
    exact: bool = False
    """Whether tests compare with what this version of it answers. On another release than the reference the
    machine's own will not do then."""

    def __str__(self) -> str:
        return f"{self.what} (Debian's {self.package})"


def _programs(package: str, names: str, *, exact: bool = False) -> dict[str, Piece]:
    return {
        name: Piece(name, package, (f"usr/bin/{name}",), program=True, exact=exact) for name in names.split()
    }


GRUB = Piece("GRUB for 32-bit PV", "grub-xen-host", ("usr/lib/grub-xen/grub-i386-xen.bin",), exact=True)
GRUB_MODULES = Piece("GRUB's modules", "grub-xen-bin", ("usr/lib/grub/i386-xen/modinfo.sh",), exact=True)
BUSYBOX = Piece(
    "busybox for i386",
    "busybox-static:i386",
    ("bin/busybox", "usr/bin/busybox"),
    on_machine=False,  # The machine's own is built for its own processor.
    variable="PARAVANE_BUSYBOX",
)
XEN_HEADERS = Piece("Xen's public headers", "libxen-dev", ("usr/include/xen/xen.h",), exact=True)
LINUX_HEADERS = Piece(
    "Linux's headers",
    "linux-libc-dev",
    ("usr/include/x86_64-linux-gnu/asm/processor-flags.h", "usr/include/asm/processor-flags.h"),
)
XEN_PROGRAMS = "usr/lib/xen-4.17/bin"
TEST_XENSTORE = Piece("test-xenstore", "xen-utils-4.17", (f"{XEN_PROGRAMS}/test-xenstore",), exact=True)
XENSTORE_CONTROL = Piece(
    "xenstore-control", "xen-utils-4.17", (f"{XEN_PROGRAMS}/xenstore-control",), exact=True
)
XENSTORED = Piece("xenstored", "xen-utils-4.17", (f"{XEN_PROGRAMS}/xenstored",), exact=True)
VERIFY_STREAM = Piece("verify-stream-v2", "xen-utils-4.17", (f"{XEN_PROGRAMS}/verify-stream-v2",), exact=True)
PROGRAMS = {
    **_programs("binutils", "as ld readelf objdump", exact=True),
    **_programs("chromium-headless-shell", "chromium-headless-shell"),
    **_programs("e2fsprogs", "mke2fs"),
    **_programs("gcc", "gcc"),
    **_programs("gdb", "gdb"),
    **_programs("grub-common", "grub-mkstandalone", exact=True),
    **_programs("lcov", "genhtml lcov"),
    **_programs("passt", "passt"),
    **_programs("qemu-system-x86", "qemu-system-i386"),
    **_programs("tshark", "tshark"),
    **_programs("xen-utils-common", "xenalyze"),
    **_programs(
        "xenstore-utils",
        "xenstore-chmod xenstore-exists xenstore-list xenstore-ls xenstore-read xenstore-rm xenstore-watch "
        "xenstore-write",
        exact=True,
    ),
}
PIECES = (
    *(GRUB, GRUB_MODULES, BUSYBOX, XEN_HEADERS, LINUX_HEADERS, TEST_XENSTORE, XENSTORE_CONTROL, XENSTORED),
    VERIFY_STREAM,
    *PROGRAMS.values(),
)


class Needs:
    """Finds pieces, and fetches what is missing at most once.

    `cache` has what comes from the machine's own release, `reference` the exact pieces where that release is
    not the one they are measured by.
    """

    def __init__(
        self,
        cache: Cache,
        reference: Cache | None = None,
        *,
        machine: Path = Path("/"),
        path: str | None = None,
    ) -> None:
        self.say: Callable[[str], None] = print
        """Where a line about what is being fetched goes."""
        self._cache = cache
        self._reference = reference
        self._machine = machine
        self._path = path
        self._failure = ""

    def find(self, piece: Piece) -> Path | None:
        """Its file, if it is here."""
        if told := os.environ.get(piece.variable):
            return Path(told) if Path(told).is_file() else None
        if cache := self._reference if piece.exact else None:
            return _cached(cache, piece)
        if piece.program and (found := shutil.which(piece.what, path=self._path)):
            return Path(found)
        if piece.on_machine and not piece.program and (place := _below(self._machine, piece)):
            return place
        return _cached(self._cache, piece)

    def have(self, piece: Piece) -> Path:
        """Its file, fetched if need be. Raises Unavailable with the reason when there is no way."""
        if told := os.environ.get(piece.variable):
            if not Path(told).is_file():
                raise Unavailable(f"{piece.variable} says {told}, which is no file")
        elif not self.find(piece) and not self._failure:
            self._failure = self._fetch()
        found = self.find(piece)
        if not found:
            raise Unavailable(self._failure or f"{piece.package} has no {piece.paths[0]}")
        return found

    def retry(self) -> None:
        """Do not wait before trying again what failed a short while ago."""
        self._stamp.unlink(missing_ok=True)

    @property
    def _stamp(self) -> Path:
        return self._cache.folder / "failure"

    def _fetch(self) -> str:
        """Bring everything that is missing; the reason if that failed."""
        if self._stamp.is_file() and time.time() - self._stamp.stat().st_mtime < NOT_AGAIN:
            return self._stamp.read_text()
        self.retry()
        missing = [piece for piece in PIECES if not self.find(piece)]
        failure = ""
        for cache, exact in ((self._reference, True), (self._cache, False)):
            # Without a reference of their own the exact pieces are among the others.
            wanted = [piece.package for piece in missing if self._reference is None or piece.exact is exact]
            if cache is not None and wanted:
                failure = self._bring(cache, wanted) or failure
        if failure and self._cache.folder.is_dir():
            self._stamp.write_text(failure)
        return failure

    def _bring(self, cache: Cache, packages: list[str]) -> str:
        try:
            cache.fetch(dict.fromkeys(packages), self.say)
        except Unavailable as error:
            return str(error)
        return ""


def _cached(cache: Cache, piece: Piece) -> Path | None:
    if piece.package not in cache.packages:
        return None
    return cache.program(piece.what) if piece.program else _below(cache.root, piece)


def _below(root: Path, piece: Piece) -> Path | None:
    return next((root / path for path in piece.paths if (root / path).is_file()), None)


@functools.cache
def needs() -> Needs:
    """This machine's."""
    here = release()
    reference = None if here == REFERENCE_ID else Cache(cache_folder(f"{REFERENCE_ID}-on-{here}"), REFERENCE)
    return Needs(Cache(cache_folder(here)), reference)


def require(piece: Piece) -> Path:
    """The file of a piece; the test that asks is skipped when it cannot be had."""
    try:
        return needs().have(piece)
    except Unavailable as error:
        pytest.skip(f"needs {piece}: {error}")


def tool(name: str) -> str:
    """The path of one of PROGRAMS, to run it; the test that asks is skipped when it cannot be had."""
    return str(require(PROGRAMS[name]))


def path_with(*programs: str) -> str:
    """A PATH on which these programs are found, wherever `tool` has them from."""
    folders = sorted({str(Path(tool(program)).parent) for program in programs})
    return os.pathsep.join([*folders, os.environ["PATH"]])


def main(packages: Sequence[str] = ()) -> int:
    """Fetch everything, and print where each piece is. Status 1 if some cannot be had.

    With `packages`, those of these alone, and of each nothing but the path: for use in a shell.
    """
    needs().retry()
    status = 0
    if packages:
        needs().say = lambda text: print(text, file=sys.stderr)
    for piece in (piece for piece in PIECES if not packages or piece.package in packages):
        try:
            place = needs().have(piece)
            print(place if packages else f"{piece}: {place}")
        except Unavailable as error:
            print(f"{piece}: {error}", file=sys.stderr if packages else sys.stdout)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
