"""What is true of every device: frontends that stop anywhere, lie in their nodes, come and go."""

from __future__ import annotations

import gc
import random
import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine
from paravane.abi.blkif import BlkifRsp
from paravane.abi.domid import DomId
from paravane.abi.grant_table import GNTTAB_NR_RESERVED_ENTRIES
from paravane.abi.xenbus import XenbusState
from paravane.devices.block import Disk
from paravane.refusal import Refusal
from tests.support.block import BlockFrontend
from tests.support.every_device import EVERY, AnyFrontend
from tests.support.frontend import Frontend
from tests.support.patience import open_files
from tests.support.small_machines import BLOCK, MEMORY, image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from paravane import Domain

STATE = XenbusState
CYCLES = 15
LIES = ("", "-1", "0", "1", "8", "4294967295", "9" * 70, "0x8", "eight", "8 8", "\xff")
every_device = pytest.mark.parametrize("kind", EVERY, ids=[kind.kind for kind in EVERY])


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(*[MEMORY] * 2), slice_instructions=100_000) as machine:
        yield machine
        assert machine.audit() == []


@pytest.fixture
def domain(machine: Machine) -> Domain:
    return machine.create(image(BLOCK), DomainConfig(memory=MEMORY))


@pytest.fixture
def neighbour(machine: Machine) -> BlockFrontend:
    """Another domain's disk, connected."""
    config = DomainConfig(memory=MEMORY, devices=(Disk(memory=1 << 20),))
    return BlockFrontend(machine, machine.create(image(BLOCK), config))


def lent(domain: Domain) -> set[int]:
    """References that somebody uses."""
    return {ref for ref in domain.grants.state.active if ref >= GNTTAB_NR_RESERVED_ENTRIES}


def held(machine: Machine) -> Counter[str]:
    """How much of what this process and this machine have. What earlier tests have left goes when it will."""
    gc.collect()
    ours = Counter(type(one).__qualname__ for one in gc.get_objects() if _is_ours(one))
    return Counter(
        files=open_files(),
        threads=threading.active_count(),
        nodes=len(machine.store.paths()),
        timers=len(machine.platform.timers.armed()),
        due=len(machine.platform.bus.due),
        **ours,
    )


def _is_ours(one: object) -> bool:
    module = type(one).__module__
    # Where a class of somebody else's has a descriptor of that name, it says of no module.
    return isinstance(module, str) and module.startswith("paravane.")


@every_device
def test_a_frontend_may_stop_anywhere(
    machine: Machine, domain: Domain, neighbour: BlockFrontend, kind: type[AnyFrontend], tmp_path: Path
) -> None:
    """In any state, its nodes written or not. The device is to go then: it is asked, waits for ever, and is
    taken away; nothing of the guest's is in use, and nobody else notices."""
    front = kind(machine, domain)
    for state in (None, *STATE):
        for honest in (False, True):
            attachment = front.attach(tmp_path)
            if honest:
                front.connect()
            if state is not None:
                front.front.switch(state)
            used = attachment.connected
            attachment.detach()
            front.front.serve()
            assert neighbour.put(0, b"x" * 512) is BlkifRsp.OKAY
            if used:
                assert (attachment.closed, attachment.state) == (False, STATE.Closing), state
                assert front.front.backend("online") == "0"
                attachment.detach(force=True)
            elif not attachment.closed:
                assert not lent(domain)
                attachment.detach(force=True)
            assert attachment.closed
            assert not lent(domain)
            assert not front.front.has("state")
    assert neighbour.read(0, 1) == (BlkifRsp.OKAY, b"x" * 512)


@pytest.mark.parametrize("asked", [False, True], ids=["", "detaching"])
def test_a_domain_may_die_in_any_state(
    machine: Machine, neighbour: BlockFrontend, asked: bool, tmp_path: Path
) -> None:
    """With devices of all kinds, which may have been asked to go."""
    for state in STATE:
        domain = machine.create(image(BLOCK), DomainConfig(memory=MEMORY))
        attachments = []
        for number, kind in enumerate(EVERY):
            front = kind(machine, domain, first_ref=100 * (number + 1))
            attachments.append(front.attach(tmp_path))
            front.connect()
            front.front.switch(state)
            if asked:
                attachments[-1].detach()
        machine.destroy(domain)
        assert all(attachment.closed for attachment in attachments)
        assert neighbour.put(0, b"x" * 512) is BlkifRsp.OKAY


@every_device
def test_whatever_a_frontend_writes_it_can_begin_anew(
    machine: Machine, domain: Domain, neighbour: BlockFrontend, kind: type[AnyFrontend], tmp_path: Path
) -> None:
    """Nodes that are no numbers, of another one's grants, that are gone: a device that is not connected has
    nothing of the guest's, and one that cannot go on says why."""
    chance = random.Random(kind.kind)
    front = kind(machine, domain)
    attachment = front.attach(tmp_path)
    front.connect()
    errors = 0
    for _ in range(100):
        match chance.randrange(6):
            case 0 | 1:
                front.front.write("state", chance.choice([*"012345678", "", "9", "44"]))
            case 2 | 3:
                front.front.write(chance.choice([*front.nodes]), chance.choice(LIES))
            case 4:
                front.front.remove(chance.choice([*front.nodes, "state", "backend"]))
            case 5:
                front.write()
        if not attachment.connected:
            assert not lent(domain)
            assert attachment.state is not STATE.Connected
        errors += front.front.has("error")
    assert errors
    front.front.write("state", 6)
    front.connect()
    assert not front.front.has("error")
    assert neighbour.put(0, b"x" * 512) is BlkifRsp.OKAY


@pytest.mark.parametrize("seed", range(3))
def test_devices_of_one_guest_that_share_what_is_for_one(
    machine: Machine, domain: Domain, neighbour: BlockFrontend, tmp_path: Path, seed: int
) -> None:
    """Each has the grants and the port of another now and then, ports are closed and bound anew, and grants
    end while they are used: what a guest lends comes back whatever it is lent for."""
    chance = random.Random(seed)
    fronts = [kind(machine, domain, first_ref=100 * number) for number, kind in enumerate(EVERY, 1)]
    for front in fronts:
        front.attach(tmp_path)
        front.connect()
    for _ in range(200):
        front, other = chance.choices(fronts, k=2)
        with suppress(Refusal):
            _share(chance, front, other)
        if chance.random() < 0.02:
            domain.events.reset(DomId.SELF, lambda: True)
        front.front.serve()
    assert neighbour.put(0, b"x" * 512) is BlkifRsp.OKAY
    for front in fronts:
        front.front.switch(STATE.Closed)
    assert not lent(domain)


def _share(chance: random.Random, front: AnyFrontend, other: AnyFrontend) -> None:
    """Something between two devices of a guest, or with one. Raises Refusal."""
    refs, others = ([name for name in one.nodes if name.endswith("ref")] for one in (front, other))
    match chance.randrange(8):
        case 0:
            front.front.write(chance.choice(refs), other.nodes[chance.choice(others)])
        case 1:
            front.front.write(front.port_node, other.front.port)
        case 2:
            front.domain.events.close(front.front.port)
        case 3:
            front.front.port = front.front.listen()
        case 4:
            front.front.switch(chance.choice([*STATE]))
        case 5:
            for state in (STATE.Closed, STATE.Initialising, front.ready):
                front.front.switch(state)
        case 6:
            for page in front.pages:
                at = chance.choice((0, 4, 8, 3072, 3076, 3080))
                page[at : at + 4] = chance.choice((1, 60, chance.getrandbits(32))).to_bytes(4, "little")
            front.front.event()
        case 7 if "page-ref" not in refs:
            front.front.revoke(int(front.nodes[chance.choice(refs)]))


@every_device
def test_devices_that_come_and_go_leave_nothing(
    machine: Machine, domain: Domain, kind: type[AnyFrontend], tmp_path: Path
) -> None:
    """Attached, connected, connected anew, broken, given back or taken away."""
    front = kind(machine, domain)
    before = Counter[str]()
    for cycle in range(CYCLES):
        attachment = front.attach(tmp_path)
        front.connect()
        front.connect()
        if cycle % 3 == 0:
            front.front.write(next(iter(front.nodes)), "nothing")
            front.front.switch(STATE.Initialising)
            front.front.switch(front.ready)
            assert front.front.has("error")
        attachment.detach(force=cycle % 2 == 0)
        if not attachment.closed:
            front.front.write("state", int(STATE.Closed))
        assert attachment.closed
        if cycle == 5:  # by then what is made once is there
            before = held(machine)
    assert held(machine) - before == Counter(), "more than there was"


@every_device
def test_a_frontend_that_removes_its_folder_has_no_device(
    machine: Machine, domain: Domain, kind: type[AnyFrontend], tmp_path: Path
) -> None:
    """It cannot make it again either; who attaches the device anew can."""
    front = kind(machine, domain)
    attachment = front.attach(tmp_path)
    front.connect()
    front.front.remove("")
    assert (attachment.connected, attachment.state) == (False, STATE.Closed)
    assert not lent(domain)
    with pytest.raises(Refusal, match="EACCES"):
        front.front.write("state", 1)
    attachment.detach()
    assert attachment.closed
    front.attach(tmp_path)
    front.connect()


def test_a_guest_makes_no_devices(machine: Machine, domain: Domain, neighbour: BlockFrontend) -> None:
    """What it writes below its own device, as far as its quota goes, is looked at by nobody."""
    front = Frontend(machine, domain, "vbd", 51712)
    with pytest.raises(Refusal, match="EACCES"):
        front.write("state", 1)
    machine.attach(domain, Disk(memory=1 << 20))
    numbers = iter(range(10_000))

    def make() -> None:
        for number in numbers:
            front.write(f"{number}/state", 1)

    with pytest.raises(Refusal, match="ENOSPC"):
        make()
    assert next(numbers) > 400
    assert [device.name for device in domain.devices] == ["vbd/51712"]
    assert neighbour.put(0, b"x" * 512) is BlkifRsp.OKAY
