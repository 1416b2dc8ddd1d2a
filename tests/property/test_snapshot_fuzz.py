"""Damaged and forged snapshots: a sentence, or a machine that keeps to its bounds; never a traceback or a
hang."""

from __future__ import annotations

import json
import random
from dataclasses import fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from paravane import Machine
from paravane.abi.sched import ShutdownReason
from paravane.devices.block import Disk
from paravane.devices.net.vif import parse_vif
from paravane.snapshot import MachineSaved, SnapshotError, read
from paravane.snapshot.codec import Blob
from paravane.snapshot.container import pack, unpack
from paravane.snapshot.state import CODEC, DomainSaved
from paravane.together import Guest
from paravane.variation import Variation
from tests.support.snapshots import Bench

if TYPE_CHECKING:
    from collections.abc import Callable

Places = list[tuple[list[Any], int]]
FLIPS = 100
FORGERIES = 60
NUMBERS = (
    *(0, 1, 2, 3, 7, 255, 4095, 0x7FFF, 0xFFFF, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF),
    *(1 << 32, (1 << 63) - 1, 1 << 80, -1),
)
OTHERS: tuple[Any, ...] = (None, True, "", "x" * 80, [], [[]], {}, 0.5)
TRAPS = 50


@cache
def snapshot() -> bytes:
    """Of two domains that talk to each other, some way into it."""
    guests = (Guest("pingpong", cmdline=f"{words} balls=40 fifo") for words in ("ping peer=2", "pong peer=1"))
    return Bench(*guests).saved(150_000)


@cache
def disk() -> bytes:
    """Of a domain with a disk, while that is written."""
    return Bench(Guest("block", devices=(Disk(memory=1 << 20),))).saved(9_000_000)


@cache
def slow_disk() -> bytes:
    """Of one that is late with some requests."""
    guest, slow = Guest("block", devices=(Disk(memory=1 << 20),)), Variation(faults=("disk",))
    return Bench(guest, seed=1, variation=slow).saved(2_987_000)


@cache
def network() -> bytes:
    """Of two domains with a packet that waits until it may be sent."""
    words = ("ip=10.0.0.1 peer=10.0.0.2", "serve ip=10.0.0.2")
    guests = (Guest("net", cmdline=one, devices=(parse_vif("rate=1KB/s"),)) for one in words)
    return Bench(*guests).saved(500_000_000)


def leaves(data: Any) -> Places:
    """Every place in nested lists that holds no list."""
    found, stack = [], [data]
    while stack:
        here = stack.pop()
        for at, one in enumerate(here):
            if isinstance(one, list):
                stack.append(one)
            else:
                found.append((here, at))
    return found


def leaves_of_devices(header: Any) -> Places:
    """Those of what is kept of devices and networks."""
    names = [one.name for one in fields(MachineSaved)]
    own = [one.name for one in fields(DomainSaved)].index("devices")
    domains = header[names.index("domains")]
    return leaves(
        [
            header[names.index("network")] or [],
            header[names.index("chance")],
            *(domain[own] for domain in domains),
        ]
    )


def test_no_flipped_bit_and_no_missing_byte_goes_unnoticed() -> None:
    chance, whole = random.Random(1), snapshot()
    for _ in range(FLIPS):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        with pytest.raises(SnapshotError, match="snapshot"):
            Machine.restore(bytes(damaged))
    for length in (*range(100), *(chance.randrange(len(whole)) for _ in range(20))):
        with pytest.raises(SnapshotError, match="snapshot"):
            Machine.restore(whole[:length])


@pytest.mark.parametrize("image", [b"\x7fELF", b"", b"\x1f\x8b" + bytes(20)])
def test_a_domain_of_no_image_is_refused(image: bytes) -> None:
    saved = read(disk())
    (kept,) = saved.domains
    forged = replace(saved, domains=(replace(kept, life=replace(kept.life, image=image)),))
    blob = Blob()
    header = CODEC.encode(MachineSaved, forged, blob)
    with pytest.raises(SnapshotError, match="^the snapshot contradicts itself: ") as told:
        Machine.restore(b"".join(pack(header, blob.pieces, compressed=False)))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("seed", range(4))
def test_a_forged_snapshot_ends_in_a_sentence_or_in_a_machine(seed: int) -> None:
    """Its checksum is right, and something in it is not."""
    forge(snapshot(), seed, FORGERIES // 4, leaves)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("with_", [disk, slow_disk, network])
def test_forged_devices_end_so_too(with_: Callable[[], bytes], seed: int) -> None:
    forge(with_(), seed, FORGERIES // 4, leaves_of_devices)


def forge(
    good: bytes, seed: int, count: int, places_of: Callable[[Any], list[tuple[list[Any], int]]]
) -> None:
    """Restore snapshots in which some of the places are forged, and run what comes of them."""
    chance = random.Random(seed)
    refused = restored = 0
    for _ in range(count):
        header, blob = unpack(good)
        forged = bytearray(blob)
        places = places_of(header)
        for _ in range(chance.choice((1, 1, 1, 4))):
            where, at = chance.choice(places)
            where[at] = chance.choice(OTHERS if chance.random() < 0.2 else NUMBERS)
        if chance.random() < 0.3:
            forged[chance.randrange(len(forged))] ^= 1 << chance.randrange(8)
        data = b"".join(pack(json.loads(json.dumps(header)), [bytes(forged)], compressed=False))
        try:
            machine = Machine.restore(data)
        except SnapshotError as error:
            refused += "\n" not in str(error)
            continue
        restored += 1
        with machine:
            machine.run(max_traps=machine.platform.traps + TRAPS, timeout=2)
            assert all(domain.reason in (None, *ShutdownReason) for domain in machine.domains.values())
    assert refused + restored == count, "each sentence is one line"
    assert refused
