"""Domains that are saved in Xen's form and go on elsewhere; Xen's own checker reads the files."""

from __future__ import annotations

import io
import os
import random
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paravane import Domain, DomainConfig, Image, Machine, ShutdownReason, asm, guest_kernels, load_image
from paravane.abi.shared_info import SHARED_INFO
from paravane.devices.xenstore import domain_path
from paravane.memory.address_space import PAE_SPACE
from paravane.memory.frames import PINNED
from paravane.migration import StreamError, load
from paravane.migration.settings import from_json, to_json
from paravane.migration.stream import RecordType, record
from paravane.on_end import Action, OnEnd
from paravane.sched import Credit, Share
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE
from tests.support.boot import HOST_TIMEOUT
from tests.support.needs import VERIFY_STREAM, require

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = 4 << 20
GONE_ON = "restored: 32 of 32 frames are others, 0 frames are unknown, 0 words are wrong\n"


def kernel(name: str) -> Image:
    return load_image(asm.build([guest_kernels.folder_of(name) / f"{name}.S"]))


@pytest.fixture(scope="module")
def suspend() -> Image:
    return kernel("suspend")


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(MEMORY, MEMORY)) as made:
        yield made


@pytest.fixture(scope="module")
def saved(suspend: Image) -> bytes:
    """The file of a domain with settings of its own."""
    with Machine(Machine.size_for(MEMORY), policy=Credit()) as made:
        config = DomainConfig(
            name="traveller",
            memory=MEMORY,
            max_memory=2 * MEMORY,
            vcpus=2,
            online_vcpus=1,
            weight=512,
            cap=50,
        )
        return kept(made, suspended(made, suspend, config))


def suspended(machine: Machine, image: Image, config: DomainConfig) -> Domain:
    domain = machine.create(image, config)
    machine.run(timeout=HOST_TIMEOUT)
    assert domain.reason is ShutdownReason.suspend, domain.crash_report
    return domain


def kept(machine: Machine, domain: Domain) -> bytes:
    return b"".join(machine.save_domain(domain))


def restored(machine: Machine, data: bytes, config: DomainConfig | None = None) -> Domain:
    return machine.restore_domain(load(io.BytesIO(data)), config)


def run(machine: Machine, domain: Domain) -> str:
    """What it prints from here on; the books are right then."""
    machine.run(timeout=HOST_TIMEOUT)
    assert machine.audit() == []
    assert not domain.crash_report
    return domain.console_output().decode()


def test_it_goes_on_in_other_frames_again_and_again(machine: Machine, suspend: Image) -> None:
    first = suspended(machine, suspend, DomainConfig(memory=MEMORY))
    second = restored(machine, kept(machine, first))
    machine.destroy(first)
    assert run(machine, second) == GONE_ON + "suspending\n"
    assert second.reason is ShutdownReason.suspend
    with Machine(Machine.size_for(MEMORY), seed=1) as elsewhere:
        third = restored(elsewhere, kept(machine, second))
        assert run(elsewhere, third) == GONE_ON + "that is enough\n"
        assert third.reason is ShutdownReason.poweroff


def test_the_one_that_was_saved_can_go_on_too(machine: Machine, suspend: Image) -> None:
    domain = suspended(machine, suspend, DomainConfig(memory=MEMORY))
    before = kept(machine, domain)
    assert kept(machine, domain) == before, "saving changes nothing"
    machine.resume(domain)
    assert run(machine, domain) == "suspending\nresumed where it was\nsuspending\n"


def test_it_is_who_it_was(saved: bytes) -> None:
    with Machine(Machine.size_for(MEMORY), policy=Credit()) as made:
        domain = restored(made, saved)
        assert (domain.name, domain.max_memory, len(domain.vcpus)) == ("traveller", 2 * MEMORY, 2)
        assert (domain.share.weight, domain.share.cap) == (512, 50)
        assert made.store.find(f"{domain_path(domain.domid)}/name") == b"traveller"
        assert made.store.find(f"{domain_path(domain.domid)}/cpu/1/availability") == b"offline"
        assert made.store.find(f"{domain_path(domain.domid)}/vm") == f"/vm/{domain.handle}".encode()
        assert load(io.BytesIO(saved)).settings.handle == domain.handle


def test_xens_own_checker_reads_it(saved: bytes, tmp_path: Path) -> None:
    checker = require(VERIFY_STREAM)
    (tmp_path / "saved").write_bytes(saved)
    library = checker.parents[1] / "lib" / "python"
    done = subprocess.run(
        ["python3", checker, "-v", "-f", "xl", "-i", tmp_path / "saved"],
        env=os.environ | {"PYTHONPATH": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "32bit guest, 3 levels of pagetables" in done.stdout
    assert "End pfn 0x0, End 0x3ff" in done.stdout.replace("Start", "End")
    assert "vcpu0 basic context, 2800 bytes" in done.stdout
    assert "vcpu1" not in done.stdout, "it was never brought up"


def test_nothing_of_a_machine_is_in_it(suspend: Image) -> None:
    """Saved on two machines whose frames are others, all its page tables are the same."""
    kinds = []
    for seed in (1, 2):
        with Machine(Machine.size_for(MEMORY), seed=seed) as made:
            loaded = load(io.BytesIO(kept(made, suspended(made, suspend, DomainConfig(memory=MEMORY)))))
            kinds.append({pfn: loaded.contents[pfn] for pfn, use in loaded.uses.items() if use})
    assert len(kinds[0]) == 4, "L3, two L2, L1"
    assert kinds[0] == kinds[1]


def test_pins_are_made_again(machine: Machine, suspend: Image) -> None:
    def pinned(domain: Domain) -> list[int]:
        frames = machine.platform.memory.frames
        mine = (mfn for mfn in range(frames.nr_frames) if frames.owner[mfn] == domain.domid)
        return sorted(machine.platform.memory.m2p[mfn] for mfn in mine if frames.flags[mfn] & PINNED)

    first = suspended(machine, suspend, DomainConfig(memory=MEMORY))
    second = restored(machine, kept(machine, first))
    assert pinned(second) == pinned(first) != []


def test_who_has_not_suspended_itself_is_not_saved(machine: Machine) -> None:
    domain = machine.create(kernel("hello"), DomainConfig(name="h", memory=MEMORY))
    with pytest.raises(ValueError, match=r"^h is not suspended$"):
        kept(machine, domain)
    run(machine, domain)
    with pytest.raises(ValueError, match=r"^h is not suspended$"):
        kept(machine, domain)


def test_who_keeps_a_mapping_of_what_is_not_its_own_is_not_saved(machine: Machine) -> None:
    """`asked` says where start_info is, but nothing of what a toolstack needs besides."""
    asked = load_image(asm.build([Path(__file__).with_name("asked.S")]))
    domain = machine.create(asked, DomainConfig(name="a", memory=MEMORY))
    machine.run(timeout=HOST_TIMEOUT)
    machine.suspend(domain)
    machine.run(timeout=HOST_TIMEOUT)
    assert domain.reason is ShutdownReason.suspend
    with pytest.raises(
        ValueError, match=r"^a cannot be saved: its kernel says that its last page is pfn 0x0$"
    ):
        kept(machine, domain)
    word = SHARED_INFO.offsets["arch.max_pfn"] + domain.shared_info
    machine.platform.ram.write(word, (MEMORY // PAGE_SIZE - 1).to_bytes(4, "little"))
    with pytest.raises(ValueError, match=r"does not say where the list of its frames is"):
        kept(machine, domain)
    tree = SHARED_INFO.offsets["arch.pfn_to_mfn_frame_list_list"] + domain.shared_info
    machine.platform.ram.write(tree, (domain.shared_info >> PAGE_SHIFT).to_bytes(4, "little"))
    with pytest.raises(ValueError, match=r"the list of its frames lies in mfn .*shared by the hypervisor"):
        kept(machine, domain)


def test_what_the_host_gives_is_said_anew(machine: Machine, saved: bytes) -> None:
    printed = bytearray()

    def sink(data: bytes) -> int:
        printed.extend(data)
        return len(data)

    with Machine(Machine.size_for(MEMORY), seed=7, policy=Credit()) as made:
        restored(made, saved, DomainConfig(sink=sink))
        made.run(timeout=HOST_TIMEOUT)
    assert printed.decode().startswith(GONE_ON)
    again = DomainConfig(on_end=OnEnd(reboot=Action.RESTART))
    with pytest.raises(StreamError, match="cannot be built anew when it ends"):
        restored(machine, saved, again)
    with pytest.raises(ValueError, match="keeps no caps"):
        restored(machine, saved)


def test_a_machine_that_is_too_small_keeps_nothing_of_it(saved: bytes) -> None:
    with Machine(MEMORY, policy=Credit()) as made:
        made.platform.memory.m2p_tables(PAE_SPACE)  # which are made once, and stay
        free = made.platform.memory.nr_free
        with pytest.raises(MemoryError, match="does not fit into this machine"):
            restored(made, saved)
        assert (made.platform.memory.nr_free, dict(made.domains)) == (free, {})


def test_one_that_was_to_give_memory_back_has_room_for_what_it_has(machine: Machine, suspend: Image) -> None:
    domain = machine.create(suspend, DomainConfig(memory=MEMORY))
    machine.set_memory(domain, MEMORY >> 1)
    machine.run(timeout=HOST_TIMEOUT)
    assert run(machine, restored(machine, kept(machine, domain))) == GONE_ON + "suspending\n"


def test_a_second_list_of_frames_is_refused(saved: bytes) -> None:
    """A shorter one would leave pages that it does not know of."""
    at = saved.index((3).to_bytes(4, "little") + (16).to_bytes(4, "little"))
    listed = saved[at : at + 24]
    shorter = listed[:12] + (9).to_bytes(4, "little") + listed[16:]
    end = len(saved) - 16
    with pytest.raises(StreamError, match="^it has two lists of its frames$"):
        load(io.BytesIO(saved[:end] + shorter + saved[end:]))


def test_more_pages_than_its_memory_are_refused(machine: Machine, saved: bytes) -> None:
    loaded = load(io.BytesIO(saved))
    few = replace(loaded.settings, memory_kib=4)
    with pytest.raises(StreamError, match=r"^it has 1024 pages, and its memory is of 257 at most$"):
        machine.restore_domain(replace(loaded, settings=replace(few, share=Share())))


def test_a_page_without_contents_may_be_any_but_a_table(saved: bytes) -> None:
    """XEN_DOMCTL_PFINFO_XALLOC: the page is there, empty."""
    word = (0xE << 60 | 5).to_bytes(8, "little")
    body = (1).to_bytes(4, "little") + bytes(4) + word
    end = len(saved) - 16
    loaded = load(io.BytesIO(saved[:end] + record(RecordType.PAGE_DATA, body) + saved[end:]))
    assert loaded.uses[5] == 0


def test_a_configuration_without_vcpus_has_one(saved: bytes) -> None:
    text = to_json(load(io.BytesIO(saved)).settings).replace(
        '"max_vcpus": 2, "avail_vcpus": [0], ', '"max_vcpus": 0, '
    )
    settings = from_json(text)
    assert (settings.vcpus, settings.online_vcpus) == (1, 1)


@pytest.mark.parametrize("name", ["", "x" * 257, "a\0b", "\ud800"])
def test_a_name_that_xenstore_cannot_hold_is_refused(name: str, saved: bytes) -> None:
    settings = replace(load(io.BytesIO(saved)).settings, name=name)
    with pytest.raises(StreamError, match=r"^its configuration has no name$"):
        from_json(to_json(settings))


def test_a_damaged_file_ends_in_a_sentence_or_in_a_domain(saved: bytes) -> None:
    """Bytes changed where they mean something, and files cut off: no traceback, and the books stay right."""
    chosen = random.Random(2003)
    loaded = load(io.BytesIO(saved))
    tables = [pfn for pfn, use in loaded.uses.items() if use]
    headers = [*range(600), *range(len(saved) - 7200, len(saved))]
    places = [saved.index(loaded.contents[pfn]) for pfn in tables]
    spots = [place + chosen.randrange(PAGE_SIZE) for place in places for _ in range(60)]
    refusals = set()
    with Machine(Machine.size_for(MEMORY) + (1 << 20), policy=Credit()) as made:
        made.platform.memory.m2p_tables(PAE_SPACE)
        free = made.platform.memory.nr_free
        for number in range(160):
            data = bytearray(saved)
            if number % 4 == 0:
                del data[chosen.choice(headers) :]
            else:
                for _ in range(chosen.randint(1, 3)):
                    data[chosen.choice(headers if number % 2 else spots)] ^= 1 << chosen.randrange(8)
            try:
                domain = restored(made, bytes(data))
            except (StreamError, MemoryError, ValueError) as error:
                refusals.add(str(error).split(":")[0][:24])
            else:
                made.run(max_traps=50)
                made.destroy(domain)
            assert made.audit() == []
            assert made.platform.memory.nr_free == free
    assert len(refusals) > 12, refusals
