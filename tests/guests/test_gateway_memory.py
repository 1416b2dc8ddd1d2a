"""Page-table hypercalls that are served in C leave what Python leaves: memory, frame table, time, results."""

from __future__ import annotations

import random
from functools import cache
from hashlib import sha256
from re import sub
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from paravane import DomainConfig, Image, Machine, StopReason, load_image
from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.abi.mmu import UvmFlag
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from paravane.gateway.native import SWITCH
from paravane.trace import Kind, Record
from paravane.x86 import PAGE_SIZE
from tests.support.boot import HOST_TIMEOUT
from tests.support.page_table_calls import Place
from tests.support.page_table_kernel import KERNEL, NR_STORES, PLAIN_STORES, TABLE_VA
from tests.support.page_table_script import Writer, results

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paravane.domain import Domain

MEMORY = 8 << 20
SLICE = 1_000_000
SCRIPTS = 8
STEPS = 150


class Outcome(NamedTuple):
    """All that is left of a run."""

    console: bytes
    steps: bytes
    memory: str
    frames: tuple[str, ...]
    traps: int
    now: int
    audit: tuple[str, ...]


class Ran(NamedTuple):
    outcome: Outcome
    served: int
    records: list[str]

    @property
    def results(self) -> list[tuple[int, ...]]:
        """The words of each step after it was carried out."""
        return results(self.outcome.steps)


def as_it_is(_: Domain) -> None:
    """Nothing is to be prepared in the domain."""


@cache
def image(two_level: bool) -> Image:
    defines = {"TWO_LEVEL": 1} if two_level else {}
    return load_image(write_elf(assemble_text(KERNEL, defines=defines)))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, native: Path) -> Callable[..., Ran]:
    """Run a script, by Python alone or with what is served in C."""

    def run(
        write: Callable[[Writer], None],
        seed: int = 0,
        *,
        in_c: bool,
        two_level: bool = False,
        vcpus: int = 1,
        prepare: Callable[[Domain], None] = as_it_is,
        watched: tuple[Kind, ...] = (),
    ) -> Ran:
        monkeypatch.setenv(SWITCH, str(native) if in_c else "0")
        printed, kernel, seen = bytearray(), image(two_level), list[Record]()
        with Machine(Machine.size_for(MEMORY), slice_instructions=SLICE) as machine:
            if watched:
                machine.trace.subscribe(seen.append, watched)
            config = DomainConfig(memory=MEMORY, vcpus=vcpus, sink=printed.extend)
            domain = machine.create(kernel, config)
            prepare(domain)
            vcpu = domain.vcpus[0]
            script, arena, pool, tables, gdt, second = (
                kernel.symbols.address_of(name) or 0
                for name in ("script", "arena", "pool", "tables", "gdt", "level2" if two_level else "root")
            )
            roots = vcpu.cpu.cr3 >> 12, vcpu.cpu.frame_at(second) or 0
            place = Place(script, arena, pool, tables, gdt, roots, 4 if two_level else 8, vcpu.cpu.frame_at)
            writer = Writer(place, random.Random(seed))
            write(writer)
            steps = [place.mfn(script + at) for at in range(0, len(writer.script), PAGE_SIZE)]
            vcpu.cpu.write(script, writer.script)
            vcpu.cpu.write(arena, writer.arena)
            assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
            ram, frames = machine.platform.ram, machine.platform.memory.frames
            outcome = Outcome(
                bytes(printed),
                b"".join(ram.read(mfn << 12, PAGE_SIZE) for mfn in steps),
                sha256(ram.bytes).hexdigest(),
                tuple(
                    sha256(table).hexdigest()
                    for table in (frames.owner, frames.type, frames.type_count, frames.count, frames.flags)
                ),
                machine.platform.traps,
                machine.platform.clock.now(),
                tuple(machine.audit()),
            )
            served = 0 if vcpu.gateway is None else vcpu.gateway.served
            return Ran(outcome, served, [sub(r" object at \w+", "", str(record)) for record in seen])

    return run


def at_random(writer: Writer) -> None:
    writer.write(STEPS)


@pytest.mark.parametrize("two_level", [False, True], ids=["pae", "two-level"])
@pytest.mark.parametrize("seed", range(SCRIPTS))
def test_random_page_table_work_leaves_the_same(run: Callable[..., Ran], seed: int, two_level: bool) -> None:
    _, in_c = both(run, at_random, seed=seed, two_level=two_level)
    assert b"upcalls" in in_c.outcome.console, "it came to its end"
    assert in_c.served >= STEPS // 4, "or nothing was compared"


def both(run: Callable[..., Ran], write: Callable[[Writer], None], **more: Any) -> tuple[Ran, Ran]:
    """What comes of a script by Python alone, and with what is served in C: the same."""
    in_python, in_c = (run(write, in_c=in_c, **more) for in_c in (False, True))
    assert in_c.results == in_python.results
    assert in_c.outcome == in_python.outcome
    assert in_c.outcome.audit == ()
    return in_python, in_c


def answers(ran: Ran) -> list[int]:
    """What the hypercalls of a script gave."""
    return [word - (word >> 31 << 32) for _, word, *_ in ran.results]


def test_a_batch_is_served_up_to_its_longest(run: Callable[..., Ran]) -> None:
    def write(writer: Writer) -> None:
        for size in (1, 512, 513):
            writer.call(*writer.maps(range(size)))

    _, in_c = both(run, write)
    assert answers(in_c) == [0, 0, 0]
    assert in_c.served == run(write_nothing, in_c=True).served + 2


def write_nothing(_: Writer) -> None:
    """The kernel alone."""


def test_a_list_is_preempted_where_python_preempts_it(run: Callable[..., Ran]) -> None:
    """A budget of 4096 units is 1024 entries of 4, and a request of a batch one more: 372 pairs of both, and
    the first of another one."""

    def write(writer: Writer) -> None:
        version, batch = (Hypercall.xen_version, 0, 0), writer.maps(range(3))
        writer.call(*writer.list([version] * 1500))
        writer.call(*writer.list([version, batch] * 600))

    _, in_c = both(run, write)
    assert answers(in_c) == [0, 0]
    # What is left of a list is asked for again with other registers.
    assert [words[3] for words in in_c.results] == [1500 - 1024, 1200 - 745]


@pytest.mark.parametrize("before", [0, 4, 9, 300])
def test_an_entry_of_a_list_is_split_where_python_splits_it(run: Callable[..., Ran], before: int) -> None:
    """A batch, or several flushes, that the budget ends within, at whichever of its items."""

    def write(writer: Writer) -> None:
        version, batch = (Hypercall.xen_version, 0, 0), writer.maps(range(500))
        writer.call(*writer.list([version] * before + [batch] * 17))
        writer.call(*writer.list([version] * before + [writer.flush_local(16)] * 100))

    _, in_c = both(run, write)
    assert answers(in_c) == [0, 0]
    batches, flushes = (words[3] for words in in_c.results)
    assert 0 < batches < 17, "what was left when it was asked for again"
    assert 0 < flushes < 100


def test_python_goes_on_where_a_list_is_not_served(run: Callable[..., Ran]) -> None:
    def write(writer: Writer) -> None:
        served, not_served = writer.maps(range(4)), (Hypercall.set_timer_op, 0, 0)
        writer.call(*writer.list([served, served, not_served, served]))
        writer.call(*writer.list([not_served, served]))

    assert answers(both(run, write)[1]) == [0, 0]


def test_an_entry_that_takes_the_page_of_its_result_away_is_done_once(run: Callable[..., Ran]) -> None:
    def write(writer: Writer) -> None:
        unmap = (Hypercall.update_va_mapping, TABLE_VA, 0, 0, UvmFlag.INVLPG)
        number, place, count = writer.list([writer.maps([3]), unmap, writer.maps([4])])
        writer.call(*writer.map_again(place))
        writer.call(number, TABLE_VA + place % PAGE_SIZE, count)

    assert answers(both(run, write)[1]) == [0, -Errno.EFAULT]


FLAT = 0x00CF_F300_0000_FFFF


def switch(writer: Writer, root: int) -> tuple[tuple[int, ...], ...]:
    """What a kernel asks for when it goes on with another thread."""
    stack, task = (Hypercall.stack_switch, 0xE021, 0xC010_0000), (Hypercall.fpu_taskswitch, 1)
    return writer.set_descriptor(6, FLAT), stack, writer.switch_base(root), task


def test_a_switch_to_another_thread_is_served_whole(run: Callable[..., Ran]) -> None:
    def write(writer: Writer) -> None:
        for root in (1, 1, 0):
            writer.call(*writer.list(switch(writer, root)))

    _, in_c = both(run, write)
    assert answers(in_c) == [0, 0, 0]
    assert in_c.served == run(write_nothing, in_c=True).served + 3


def runs_on(slot: int) -> Callable[[Domain], None]:
    """Has the second vcpu of a domain run on a descriptor of the GDT, as far as anybody sees that looks."""

    def prepare(domain: Domain) -> None:
        cpu = domain.vcpus[1].cpu
        cpu._words[cpu._ss_at] = slot << 3 | 1

    return prepare


@pytest.mark.parametrize(("slot", "served"), [(5, 1), (6, 0)])
def test_a_descriptor_is_served_that_no_vcpu_runs_on(run: Callable[..., Ran], slot: int, served: int) -> None:
    def write(writer: Writer) -> None:
        writer.call(*writer.set_descriptor(6, FLAT))

    _, in_c = both(run, write, vcpus=2, prepare=runs_on(slot))
    assert answers(in_c) == [0]
    assert in_c.served == run(write_nothing, vcpus=2, in_c=True).served + served


def test_a_list_that_another_root_maps_elsewhere_goes_on_there(run: Callable[..., Ran]) -> None:
    def write(writer: Writer) -> None:
        number, place, count = writer.list([writer.maps([3]), writer.switch_base(1), writer.maps([4])])
        writer.call(*writer.map_again(place))
        writer.call(number, TABLE_VA + place % PAGE_SIZE, count)

    assert answers(both(run, write)[1]) == [0, -Errno.EFAULT]


def test_a_table_that_maps_nothing_is_pinned_and_unpinned(run: Callable[..., Ran]) -> None:
    def write(writer: Writer) -> None:
        for pinned in (True, True, False, False):
            writer.call(*writer.pin_unused(pinned=pinned))

    _, in_c = both(run, write)
    assert answers(in_c) == [0, -Errno.EINVAL, 0, -Errno.EINVAL]
    assert in_c.served == run(write_nothing, in_c=True).served + 2


def test_a_list_of_pins_is_preempted_where_python_preempts_it(run: Callable[..., Ran]) -> None:
    """An entry of 4 units with an operation of 4 that looks at a table, 128, which the first one has free:
    the 32nd is the last."""

    def write(writer: Writer) -> None:
        pins = [writer.pin_unused(), writer.pin_unused(pinned=False)]
        writer.call(*writer.list(pins * 20))

    _, in_c = both(run, write)
    assert answers(in_c) == [0]
    assert [words[3] for words in in_c.results] == [40 - 32]


@pytest.mark.parametrize(
    ("form", "served"),
    [*[(form, 1) for form in range(PLAIN_STORES)], *[(form, 0) for form in range(PLAIN_STORES, NR_STORES)]],
)
def test_plain_stores_to_a_table_are_served(run: Callable[..., Ran], form: int, served: int) -> None:
    def write(writer: Writer) -> None:
        writer.store(writer.tables + 800, 0, form)

    _, in_c = both(run, write)
    assert [words[7] for words in in_c.results] == [2]
    assert in_c.served == run(write_nothing, in_c=True).served + served


def test_flushes_of_all_vcpus_are_left_to_python_where_there_are_others(run: Callable[..., Ran]) -> None:
    def write(writer: Writer) -> None:
        for scope in (UvmFlag.LOCAL, UvmFlag.ALL):
            writer.call(Hypercall.update_va_mapping, TABLE_VA, 0, 0, UvmFlag.INVLPG | scope)

    (_, alone), (_, one_of_two) = (both(run, write, vcpus=vcpus) for vcpus in (1, 2))
    assert alone.served == one_of_two.served + 1


@pytest.mark.parametrize("kind", [Kind.PAGE, Kind.HYPERCALL])
def test_who_watches_page_types_or_hypercalls_misses_nothing(run: Callable[..., Ran], kind: Kind) -> None:
    in_python, in_c = both(run, at_random, seed=3, watched=(kind,))
    assert in_c.records == in_python.records
    assert in_c.records
    assert (in_c.served >= STEPS // 4) is (kind is Kind.PAGE)
