"""Disks of a recorded run, and of one that repeats it.

A counted run does all that a disk is asked for at once, so nothing of the host's time is in its answers. What
has to be kept is what was on the disk before, as far as the guest has seen it, and what the host refused.
"""

from __future__ import annotations

import os
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Final

from paravane.classes import dataclass
from paravane.devices.block.device import BlockDevice
from paravane.devices.block.raw import RawVolume
from paravane.devices.block.vdev import number_of
from paravane.recording.disk_log import LONGEST, Answer
from paravane.recording.errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paravane.devices.block import Disk
    from paravane.devices.block.volume import Buffers, Volume
    from paravane.devices.xenbus import DeviceHost
    from paravane.recording.disk_log import Reader

SECTOR: Final = 512
_CHUNK: Final = 2048
"""Sectors of which it is known together which are known: a megabyte."""


class Known:
    """Which sectors of a disk are known: read before, or written."""

    def __init__(self) -> None:
        self._chunks: defaultdict[int, int] = defaultdict(int)

    def learn(self, place: int, length: int, *, known: bool = True) -> None:
        """Bytes, whole sectors."""
        for chunk, mask in _masks(place, length):
            if known:
                self._chunks[chunk] |= mask
            else:
                self._chunks[chunk] &= ~mask

    def unknown(self, place: int, length: int) -> Iterator[tuple[int, int]]:
        """The parts of a range that are not, each the longest that it can be."""
        start = None
        for at in range(place, place + length, SECTOR):
            chunk, sector = divmod(at // SECTOR, _CHUNK)
            known = self._chunks.get(chunk, 0) >> sector & 1
            if known and start is not None:
                yield start, at - start
                start = None
            elif not known and start is None:
                start = at
        if start is not None:
            yield start, place + length - start


class KeptVolume:
    """A volume of which all that has to be kept is told to `keep`."""

    def __init__(self, volume: Volume, keep: Callable[[Answer], None]) -> None:
        """The volume is this one's from now on."""
        self._volume = volume
        self._keep = keep
        self._known = Known()
        self._operation = 0
        self.size, self.read_only, self.never_waits = volume.size, volume.read_only, True

    def read(self, buffers: Buffers, place: int, *, at_once: bool = False) -> None:
        # What the host read of it before it failed is not the guest's to see: that is not kept.
        data = bytearray(sum(map(len, buffers)))
        self._do(lambda: self._volume.read([data], place))
        for start, length in self._known.unknown(place, len(data)):
            for at in range(start, start + length, LONGEST):
                end = min(at + LONGEST, start + length)
                self._keep(Answer(self._operation, at, bytes(data[at - place : end - place])))
        self._known.learn(place, len(data))
        hand_over(data, buffers)

    def write(self, buffers: Buffers, place: int) -> None:
        self._change(place, sum(map(len, buffers)), lambda: self._volume.write(buffers, place))

    def flush(self) -> None:
        self._do(self._volume.flush)

    def discard(self, place: int, length: int) -> None:
        self._change(place, length, lambda: self._volume.discard(place, length))

    def erase(self, place: int, length: int) -> None:
        self._change(place, length, lambda: self._volume.erase(place, length))

    def close(self) -> None:
        self._volume.close()

    def _change(self, place: int, length: int, change: Callable[[], None]) -> None:
        try:
            self._do(change)
        except OSError:
            self._known.learn(place, length, known=False)  # nobody knows how far it came
            raise
        self._known.learn(place, length)

    def _do(self, operation: Callable[[], None]) -> None:
        self._operation += 1
        try:
            operation()
        except OSError as error:
            self._keep(Answer(self._operation, 0, b"", error.errno or 5))
            raise


class RepeatedVolume:
    """A volume in memory that gives what the recorded one gave."""

    never_waits = True

    def __init__(
        self, volume: Volume, answers: Reader, stray: Callable[[str], None], *, read_only: bool
    ) -> None:
        """All are this one's from now on. `stray` is told, in a sentence, what shows that it is not the
        recorded run."""
        self._volume = volume
        self._answers = answers
        self._stray = stray
        self._operation = 0
        self._next: Answer | None = None
        self._ended = False
        self.size, self.read_only = volume.size, read_only

    def read(self, buffers: Buffers, place: int, *, at_once: bool = False) -> None:
        data = bytearray(sum(map(len, buffers)))
        self._do(lambda: self._volume.read([data], place))
        hand_over(data, buffers)

    def write(self, buffers: Buffers, place: int) -> None:
        self._do(lambda: self._volume.write(buffers, place))

    def flush(self) -> None:
        self._begin()

    def discard(self, place: int, length: int) -> None:
        self._do(lambda: self._volume.discard(place, length))

    def erase(self, place: int, length: int) -> None:
        self._do(lambda: self._volume.discard(place, length))

    def close(self) -> None:
        self._answers.close()
        self._volume.close()

    def _do(self, operation: Callable[[], None]) -> None:
        self._begin()
        self._have(operation)

    def _have(self, operation: Callable[[], None]) -> None:
        """What the recorded run has done the host of this one has to do, too."""
        try:
            operation()
        except OSError as error:
            self._stray(f"the host has no room for its disk: {error.strerror}")

    def _begin(self) -> None:
        """Another operation: have on the disk what it finds there. Raises OSError where the host refused
        it."""
        self._operation += 1
        while (answer := self._due()) is not None:
            self._next = None
            if answer.error:
                raise OSError(answer.error, os.strerror(answer.error))
            self._have(partial(self._volume.write, [bytearray(answer.data)], answer.place))

    def _due(self) -> Answer | None:
        try:
            if self._next is None and not self._ended:
                self._next = self._answers.next()
                self._ended = self._next is None
                if self._next is not None and not self._fits(self._next):
                    raise RecordingError("what its disk gave is not on that disk")
        except RecordingError as error:
            self._ended, self._next = True, None
            self._stray(str(error))
        if self._next is not None and self._next.operation <= self._operation:
            return self._next
        return None

    def _fits(self, answer: Answer) -> bool:
        return answer.place + len(answer.data) <= self.size


@dataclass(frozen=True, slots=True)
class KeptDisk:
    """A disk of a run that is recorded: what there is to keep of it is told to `keep`, and how many bytes it
    has to `measured`."""

    disk: Disk
    keep: Callable[[Answer], None]
    measured: Callable[[int], None]

    def open(self, host: DeviceHost) -> BlockDevice:
        """Raises ValueError."""
        volume = self.disk.volume(host)
        self.measured(volume.size // self.disk.sector_size * self.disk.sector_size)
        return self.disk.device(host, KeptVolume(volume, self.keep))


@dataclass(frozen=True, slots=True)
class RepeatedDisk:
    """A disk of a run that is repeated; `target` is what the recorded one stood on, as its guest saw it."""

    vdev: str
    size: int
    read_only: bool
    cdrom: bool
    sector_size: int
    target: str
    answers: Callable[[], Reader]
    stray: Callable[[str], None]

    def open(self, host: DeviceHost) -> BlockDevice:
        """Raises ValueError."""
        try:
            answers = self.answers()
        except OSError as error:
            raise ValueError(f"what the disk {self.vdev} gave cannot be read: {error.strerror}") from None
        try:
            memory = RawVolume.in_memory(self.size)
        except ValueError:
            answers.close()
            raise
        volume = RepeatedVolume(memory, answers, self.stray, read_only=self.read_only)
        return BlockDevice(
            host,
            volume,
            number_of(self.vdev),
            self.vdev,
            target=self.target,
            sector_size=self.sector_size,
            cdrom=self.cdrom,
        )


def hand_over(data: bytearray, buffers: Buffers) -> None:
    """Fill the buffers with it."""
    at = 0
    for buffer in buffers:
        buffer[:] = data[at : at + len(buffer)]
        at += len(buffer)


def _masks(place: int, length: int) -> Iterator[tuple[int, int]]:
    """The chunks of a range, and its bits in each."""
    first, end = place // SECTOR, (place + length) // SECTOR
    while first < end:
        chunk, sector = divmod(first, _CHUNK)
        count = min(_CHUNK - sector, end - first)
        yield chunk, ((1 << count) - 1) << sector
        first += count
