"""What a caller of the public face passes by mistake is told by its name, in one sentence."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from paravane import BareMachine, DomainConfig, Machine, MachineBusyError, load_image
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from tests.support.boot import HOST_TIMEOUT, kernel_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEMORY = 4 << 20
SAYS = '.include "runtime.inc"\nXEN_NOTES\n.text\nmain:\n PRINT "abc"\n ret\n'


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.size_for(MEMORY)) as made:
        yield made


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda wrong: Machine(memory=wrong("x")), "memory must be int, not str: 'x'"),
        (lambda wrong: Machine(seed=wrong(1.5)), "seed must be int, not float: 1.5"),
        (lambda wrong: Machine(slice_instructions=wrong(None)), "slice_instructions must be int, not Non"),
        (lambda wrong: DomainConfig(name=wrong(b"n")), "name must be str, not bytes"),
        (lambda wrong: DomainConfig(memory=wrong("32M")), "memory must be int, not str: '32M'"),
        (lambda wrong: DomainConfig(memory=True), "memory must be int, not bool: True"),
        (lambda wrong: DomainConfig(cmdline=wrong(b"c")), "cmdline must be str, not bytes: b'c'"),
        (lambda wrong: DomainConfig(ramdisk=wrong("file")), "ramdisk must be bytes or None, not str"),
        (lambda wrong: DomainConfig(sink=wrong([])), r"sink must be callable, and \[\] is not"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused(call: Callable[[Any], object], sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        call(lambda value: value)


BARE = write_elf(
    assemble_text(
        ".align 4\n.long 0x1BADB002, 0, -0x1BADB002\n.globl _start\n"
        "_start: mov $0x3f8, %edx\noutb %al, %dx\nmov $0, %al\noutb %al, $0xf4\nhlt",
        base=0x100000,
    )
)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"kernel": "bare.elf"}, "kernel must be bytes or bytearray, not str: 'bare.elf'"),
        ({"memory": "4M"}, "memory must be int, not str: '4M'"),
        ({"command_line": b"c"}, "command_line must be str, not bytes: b'c'"),
        ({"sink": None}, "sink must be callable, and None is not"),
        ({"slice_instructions": "5"}, "slice_instructions must be int, not str"),
        ({"sensitive": "rewrite"}, "sensitive must be Sensitive, not str: 'rewrite'"),
        ({"shadow": "wp"}, "shadow must be Policy, not str: 'wp'"),
    ],
)
def test_a_bare_pc_is_told_so_too(wrong: dict[str, Any], sentence: str) -> None:
    arguments: dict[str, Any] = {"kernel": BARE, "memory": MEMORY, "sink": print} | wrong
    with pytest.raises(TypeError, match=sentence):
        BareMachine(**arguments)


def test_a_bare_pc_has_no_slices_of_less_than_nothing() -> None:
    with pytest.raises(ValueError, match="slice_instructions must not be negative, as -1 is"):
        BareMachine(BARE, MEMORY, sink=print, slice_instructions=-1)


def test_a_bare_pc_that_runs_is_neither_run_nor_closed_and_one_that_is_closed_does_not_run() -> None:
    said: list[str] = []

    def sink(data: bytes) -> None:
        for call in (pc.run, pc.close):
            with pytest.raises(MachineBusyError) as error:
                call()
            said.append(str(error.value))

    pc = BareMachine(BARE, MEMORY, sink=sink)
    wrong: Any = "1"
    with pytest.raises(TypeError, match="timeout must be int or float or None, not str"):
        pc.run(timeout=wrong)
    with pytest.raises(ValueError, match="not a negative one of traps"):
        pc.run(max_traps=-1)
    pc.run(timeout=HOST_TIMEOUT)
    assert pc.guest.exit_code == 0
    assert said == [
        f"the machine is running, and cannot {what} meanwhile" for what in ("be run", "be closed")
    ]
    pc.close()
    pc.close()
    with pytest.raises(ValueError, match="the machine is closed"):
        pc.run()


def test_a_machine_larger_than_any_is_refused_before_its_memory_is_asked_for() -> None:
    with pytest.raises(ValueError, match=r"a machine has from .* to 4096 MiB of memory, not 1073741824 KiB"):
        Machine(memory=1 << 40)


def test_a_machine_is_asked_for_what_it_can_do(machine: Machine) -> None:
    wrong: Any = "1"
    for call, sentence in (
        (lambda: machine.run(timeout=wrong), "timeout must be int or float or None, not str"),
        (lambda: machine.run(max_traps=wrong), "max_traps must be int, not str"),
        (lambda: machine.create(wrong, DomainConfig(memory=MEMORY)), "image must be Image, not str"),
        (lambda: machine.create(load_image(kernel_image(SAYS)), wrong), "config must be DomainConfig, not"),
        (lambda: machine.add_input(wrong, print), "fileno must be int, not str"),
        (lambda: machine.add_input(0, wrong), "ready must be callable"),
    ):
        with pytest.raises(TypeError, match=sentence):
            call()
    assert machine.domains == {}


def test_only_an_open_file_descriptor_can_be_an_input_and_only_once(machine: Machine) -> None:
    reader, writer = os.pipe()
    machine.add_input(reader, lambda: None)
    with pytest.raises(ValueError, match=f"fileno {reader} is watched already"):
        machine.add_input(reader, lambda: None)
    machine.remove_input(reader)
    with pytest.raises(ValueError, match=f"fileno {reader} is not watched"):
        machine.remove_input(reader)
    os.close(reader)
    os.close(writer)
    for closed in (reader, -1, 1 << 40):
        with pytest.raises(ValueError, match=f"fileno {closed} is not an open file descriptor"):
            machine.add_input(closed, lambda: None)


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        ("3", TypeError, "what a console sink returns, .*, must be int or None, not str: '3'"),
        (-1, ValueError, "a console sink was offered 3 bytes and says that it took -1"),
        (4, ValueError, "a console sink was offered 3 bytes and says that it took 4"),
    ],
)
def test_a_sink_that_says_nonsense_ends_the_run_with_a_sentence(
    machine: Machine, answer: Any, error: type[Exception], sentence: str
) -> None:
    answers = [answer]
    heard = []

    def sink(data: bytes) -> Any:
        if answers:
            return answers.pop()
        heard.append(data)
        return None

    domain = machine.create(load_image(kernel_image(SAYS)), DomainConfig(memory=MEMORY, sink=sink))
    with pytest.raises(error, match=sentence):
        machine.run(timeout=HOST_TIMEOUT)
    # What it was offered is still the guest's to say.
    domain.console.resume()
    machine.run(timeout=HOST_TIMEOUT)
    assert heard == [b"abc"]


def test_a_sink_may_take_a_little_at_a_time(machine: Machine) -> None:
    heard = bytearray()

    def sink(data: bytes) -> int:
        heard.extend(data[:1])
        machine.post(domain.console.resume)
        return 1

    domain = machine.create(load_image(kernel_image(SAYS)), DomainConfig(memory=MEMORY, sink=sink))
    machine.run(timeout=HOST_TIMEOUT)
    while domain.console.waiting:
        domain.console.resume()
    assert heard == b"abc"
