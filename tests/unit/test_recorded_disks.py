"""Disks of recorded runs: what they gave is given again, whatever became of theirs."""

from __future__ import annotations

import errno
import random
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from paravane.devices.block.raw import RawVolume
from paravane.recording import RecordingError, disk_log, disks
from paravane.recording.disk_log import Answer, Reader, Writer
from paravane.recording.disks import KeptVolume, Known, RepeatedVolume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from paravane.devices.block.volume import Buffers, Volume

SIZE = 64 * 512


class Failing:
    """A disk in memory that fails when it is told to, midway."""

    size, read_only, never_waits = SIZE, False, True

    def __init__(self, seed: int) -> None:
        self.fails = False
        self._volume = RawVolume.in_memory(SIZE)
        self._volume.write([bytearray(random.Random(seed).randbytes(SIZE))], 0)
        self.close = self._volume.close

    def read(self, buffers: Buffers, place: int, *, at_once: bool = False) -> None:
        self._volume.read(buffers, place)
        self.flush()

    def write(self, buffers: Buffers, place: int) -> None:
        self._volume.write([bytearray(buffers[0][:512])] if self.fails else buffers, place)
        self.flush()

    def discard(self, place: int, length: int) -> None:
        self._volume.discard(place, 512 if self.fails else length)
        self.flush()

    def erase(self, place: int, length: int) -> None:
        self.discard(place, length)

    def flush(self) -> None:
        if self.fails:
            raise OSError(errno.EIO, "no such luck")


def work(volume: Volume, seed: int, failing: Failing | None = None) -> list[bytes | int]:
    """What a guest sees that does this and that."""
    chance = random.Random(seed)
    seen: list[bytes | int] = []
    for _ in range(60):
        first = chance.randrange(64)
        place, length = first * 512, 512 * chance.randint(1, 64 - first)
        what, data = chance.randrange(7), chance.randbytes(length)
        fails = chance.random() < 0.2
        if failing is not None:
            failing.fails = fails
        half = length // 1024 * 512
        buffers = [bytearray(data[:half]), bytearray(data[half:])] if half else [bytearray(data)]
        try:
            if what < 3:
                volume.read(buffers, place)
            elif what == 3:
                volume.write(buffers, place)
            elif what == 4:
                volume.discard(place, length)
            elif what == 5:
                volume.erase(place, length)
            else:
                volume.flush()
        except OSError as error:
            seen.append(error.errno or 0)
        seen.append(b"".join(buffers))
    return seen


@pytest.mark.parametrize("seed", range(8))
def test_what_a_disk_gave_it_gives_again(seed: int, tmp_path: Path) -> None:
    writer, disk = Writer(tmp_path / "disk-0"), Failing(seed)
    kept = KeptVolume(disk, writer.add)
    seen = work(kept, seed, disk)
    writer.close()
    kept.close()
    assert errno.EIO in seen
    strayed: list[str] = []
    reader = Reader(open(tmp_path / "disk-0", "rb"))  # noqa: SIM115 - closed with the volume
    repeated = RepeatedVolume(RawVolume.in_memory(SIZE), reader, strayed.append, read_only=False)
    assert work(repeated, seed) == seen
    assert strayed == []
    repeated.close()


def test_nothing_is_kept_twice_nor_what_the_guest_wrote_itself() -> None:
    answers: list[Answer] = []
    kept = KeptVolume(Failing(1), answers.append)
    kept.write([bytearray(1024)], 1024)
    for _ in range(2):
        kept.read([bytearray(4096)], 0)
    assert [(one.operation, one.place, len(one.data)) for one in answers] == [(2, 0, 1024), (2, 2048, 2048)]
    kept.close()


def test_sectors_are_known_across_chunks() -> None:
    known, chunk = Known(), disks.SECTOR * 2048
    known.learn(chunk - 512, 1024)
    assert list(known.unknown(chunk - 1024, 2048)) == [(chunk - 1024, 512), (chunk + 512, 512)]
    known.learn(chunk, 512, known=False)
    assert list(known.unknown(chunk - 1024, 2048)) == [(chunk - 1024, 512), (chunk, 1024)]
    assert list(known.unknown(chunk - 512, 512)) == []


def stream(*answers: Answer) -> bytes:
    head = disk_log._HEAD
    return b"".join(
        head.pack(one.operation, one.place, len(one.data), one.error) + one.data for one in answers
    )


def drain(reader: Reader) -> None:
    while reader.next() is not None:
        pass


GOOD = stream(Answer(2, 0, bytes(512)), Answer(2, 0, b"", errno.EIO))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not whole"),
        (b"nonsense", "damaged"),
        (zlib.compress(GOOD)[:-1], "not whole"),
        (zlib.compress(GOOD[:-1]), "not whole"),
        (zlib.compress(GOOD[:30]), "not whole"),
        (zlib.compress(stream(Answer(0, 0, b"x"))), "damaged"),
        (zlib.compress(stream(Answer(1, 0, b""))), "damaged"),
        (zlib.compress(stream(Answer(1, 0, b"x", 5))), "damaged"),
        (zlib.compress(stream(Answer(2, 0, b"x"), Answer(1, 0, b"x"))), "damaged"),
        (zlib.compress(disk_log._HEAD.pack(1, 0, 1 << 30, 0)), "damaged"),
    ],
)
def test_what_a_disk_gave_is_not_believed(data: bytes, sentence: str) -> None:
    reader = Reader(BytesIO(data))
    with pytest.raises(RecordingError, match=f"what its disk gave is {sentence}"):
        drain(reader)


def test_a_stream_without_an_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_log, "MOST_DATA", 1 << 17)
    reader = Reader(BytesIO(zlib.compress(stream(*[Answer(1, 0, bytes(1 << 16))] * 20))))
    with pytest.raises(RecordingError, match="its disk gave more than 0 MiB"):
        drain(reader)


@pytest.mark.parametrize(
    "answers",
    [(Answer(1, SIZE, bytes(512)),), (Answer(1, 1 << 63, bytes(512)),), (Answer(1, SIZE - 256, bytes(512)),)],
)
def test_what_is_not_on_the_disk_is_not_put_there(answers: Sequence[Answer]) -> None:
    strayed: list[str] = []
    reader = Reader(BytesIO(zlib.compress(stream(*answers))))
    volume = RepeatedVolume(RawVolume.in_memory(SIZE), reader, strayed.append, read_only=False)
    data = bytearray(512)
    volume.read([data], 0)
    assert (bytes(data), strayed) == (bytes(512), ["what its disk gave is not on that disk"])
    volume.close()
