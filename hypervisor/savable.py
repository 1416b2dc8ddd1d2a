"""A machine that can be saved, and made again of what was saved (`paravane.snapshot`); and so can each of its
domains that suspends itself for it (`paravane.migration`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING

from paravane.domain_config import DomainConfig
from paravane.outside import MachineBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from os import PathLike
    from typing import Self

    from paravane.devices.block import Disk
    from paravane.devices.console import Sink
    from paravane.domain import Domain
    from paravane.image import Image
    from paravane.migration import Loaded
    from paravane.snapshot import Kind
    from paravane.snapshot.parts import Parts
    from paravane.toolstack import Toolstack


class BetweenSlices:
    """Calls to be made when no guest executes, and nothing is half done. For one thread at a time."""

    def __init__(self) -> None:
        self._asked: deque[Callable[[], None]] = deque()
        self.calling = False
        """Whether one of them is being made."""

    @property
    def asked(self) -> bool:
        """Whether any is still to be made: then the machine must not wait for anything else."""
        return bool(self._asked)

    def ask(self, call: Callable[[], None]) -> None:
        """Have `call` made once. It must not raise."""
        self._asked.append(call)

    def make(self) -> None:
        """Make all calls that were asked for, also those that these ask for."""
        self.calling = True
        try:
            while self._asked:
                self._asked.popleft()()
        finally:
            self.calling = False


class Savable(ABC):
    """The part of a machine for those who keep it."""

    _runner: int | None
    _toolstack: Toolstack

    def __init__(self) -> None:
        self._between_slices = BetweenSlices()

    @abstractmethod
    def _check_thread(self, what: str) -> None:
        """Raises MachineBusyError when another thread runs the machine."""

    @abstractmethod
    def _check_open(self) -> None:
        """Raises ValueError when it is closed."""

    @classmethod
    @abstractmethod
    def _made_as(cls, kind: Kind) -> Self:
        """A machine of this kind. Raises SnapshotError."""

    @abstractmethod
    def _parts(self) -> Parts:
        """What it is made of."""

    @abstractmethod
    def close(self) -> None:
        """See `Machine`."""

    @abstractmethod
    def _administer(self, what: str, domain: Domain) -> None:
        """Raises ValueError for a domain that is not on the machine."""

    @abstractmethod
    def _check_cap(self, cap: int) -> None:
        """Raises ValueError for a cap that the machine's policy does not keep."""

    @abstractmethod
    def _begin(self, domain: Domain, image: Image, config: DomainConfig) -> None:
        """A domain that was made of this is one of the machine's from now on."""

    def save_domain(self, domain: Domain) -> Iterator[bytes]:
        """A domain that has suspended itself (`suspend`, then `run`), as the pieces of a file of Xen's: its
        configuration as xl keeps it, its memory and its vcpus as a migration stream, version 3. It stays as
        it is, to be destroyed, or resumed as after `xl save -c`.

        Raises ValueError, a sentence, for one that is not suspended, and for one whose kernel has not done
        what a kernel does before: its page tables are to name nothing but its own pages.
        """
        self._administer("save a domain", domain)
        from paravane.migration import save  # noqa: PLC0415 - loaded for who asks for it only

        return save(domain)

    def restore_domain(self, loaded: Loaded, config: DomainConfig | None = None) -> Domain:
        """A domain that was saved (`paravane.migration.load`), ready to go on. Its name, number of vcpus and
        memory are those that were saved; the rest `config` says (None: the usual), above all its devices, for
        these are the host's: its kernel is to find those that it had.

        Raises StreamError, a sentence, for one that cannot run here, and what `create` raises.
        """
        self._check_thread("restore a domain")
        self._check_open()
        from paravane.migration import configured  # noqa: PLC0415 - loaded for who asks for it only

        wanted = configured(loaded.settings, config or DomainConfig())
        self._check_cap(wanted.cap)
        domain = self._toolstack.restore(loaded, wanted)
        self._begin(domain, domain.image, wanted)
        return domain

    def save(self, path: str | PathLike[str] | None = None) -> bytes:
        """Save the whole machine as it is between two slices, to a file or, without a `path`, to the bytes
        that are given back (with one: none). `restore` makes a machine of it that goes on exactly as this one
        does from here.

        Raises SnapshotError, one sentence, for a machine of which something cannot be saved yet, and OSError.
        MachineBusyError inside `run`, except from what `between_slices` calls.
        """
        self._check_open()
        self._check_thread("save the machine")
        if self._runner is not None and not self._between_slices.calling:
            raise MachineBusyError("a machine that runs is saved by what `between_slices` calls only")
        from paravane import snapshot  # noqa: PLC0415 - loaded for who asks for it only

        if path is None:
            return snapshot.to_bytes(self._parts())
        snapshot.write(self._parts(), path)
        return b""

    @classmethod
    def restore(
        cls,
        source: bytes | str | PathLike[str],
        *,
        sinks: Mapping[str, Sink] | None = None,
        disks: Mapping[str, Sequence[Disk]] | None = None,
        trusted: bool = False,
    ) -> Self:
        """The machine that `save` wrote to a file, or gave as bytes, ready to go on. `sinks` take what the
        consoles of its domains put out, by name; the others keep it (`Domain.console_output`). `disks` are
        those that stand on files, by the names of their domains, for a snapshot has what was in memory, and
        opens no file that it names: each is to be as it was, and its file unchanged since. With
        `trusted`, for what this very process has saved, the frames are not audited, which takes longer than
        all else. Raises SnapshotError, one sentence, for what is no whole snapshot of this version or
        contradicts itself, OSError for a file that cannot be read, and MemoryError."""
        from paravane import snapshot  # noqa: PLC0415 - loaded for who asks for it only

        saved = snapshot.read(source)
        machine = cls._made_as(saved.kind)
        try:
            snapshot.restore(machine._parts(), saved, sinks or {}, disks, trusted=trusted)
        except BaseException:
            machine.close()
            raise
        return machine

    def between_slices(self, call: Callable[[], None]) -> None:
        """Have `call` made once, before any guest runs again: where the machine can be saved. For the thread
        that runs it, and for any thread while nobody does. It must not raise."""
        self._check_thread("ask to be called between slices")
        self._between_slices.ask(call)
