"""Guests do not notice that they are debugged: whole kernels, stepped, watched and broken at, print what they
always print. Among them is the one that steps itself and sets breakpoints of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, StopReason, guest_kernels, load_image
from paravane.asm import build
from paravane.cpu.debugger import Watched
from paravane.debug.listener import Address, Listener
from paravane.debug.registers import NUMBERS
from paravane.debug.server import Server
from paravane.testing.expectation import Expected
from paravane.testing.matching import difference
from tests.support.boot import HOST_TIMEOUT, kernel_image
from tests.support.debugged import LOOPBACK, Remote
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from collections.abc import Callable

    from paravane import Domain

EVERYWHERE = range(1 << 32)


class Watcher:
    """A debugger that only counts."""

    def __init__(self) -> None:
        self.breakpoints: set[int] = set()
        self.watched: list[Watched] = []
        self.calls = 0

    def at_breakpoint(self, address: int) -> bool:
        self.calls += 1
        return False

    def accessed(self, watched: Watched, before: bytes) -> bool:
        self.calls += 1
        return False

    def stepped(self) -> None:
        self.calls += 1


def check(name: str, debug: Callable[[Domain, Watcher], None]) -> Watcher:
    """Run a guest kernel with a debugger, and see that all is as ever."""
    kernel, watcher = guest_kernels.load(name), Watcher()
    with Machine(Machine.size_for(kernel.memory)) as machine:
        config = DomainConfig(memory=kernel.memory, cmdline=kernel.cmdline)
        domain = machine.create(load_image(build(kernel.sources)), config)
        debug(domain, watcher)
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert difference(Expected(kernel.expected), domain.console_output().decode()) == []
        assert machine.audit() == []
    return watcher


@pytest.mark.parametrize("name", ["crash", "debug", "emulate", "failsafe", "fpu", "rings", "twolevel"])
def test_a_guest_that_is_stepped_from_start_to_end(name: str) -> None:
    def step(domain: Domain, watcher: Watcher) -> None:
        debuggers = domain.vcpus[0].cpu.debuggers
        debuggers.attach(watcher)
        debuggers.step(watcher, EVERYWHERE)

    assert check(name, step).calls == 0


@pytest.mark.parametrize("name", ["debug", "rings", "traps"])
def test_a_guest_whose_console_is_watched(name: str) -> None:
    def watch(domain: Domain, watcher: Watcher) -> None:
        address = domain.image.symbols.address_of("start_info")
        assert address is not None
        watcher.watched = [Watched(address, 4, reads=True, writes=True)]
        domain.vcpus[0].cpu.debuggers.attach(watcher)

    assert check(name, watch).calls > 0


@pytest.mark.parametrize("name", ["debug", "rings", "traps", "fastcall"])
def test_a_guest_with_a_breakpoint_at_every_symbol(name: str) -> None:
    def break_everywhere(domain: Domain, watcher: Watcher) -> None:
        image = domain.image
        addresses = {symbol.address for symbol in image.elf.symbols() if image.is_code(symbol.address)}
        watcher.breakpoints = set(sorted(addresses)[:256])
        domain.vcpus[0].cpu.debuggers.attach(watcher)

    assert check(name, break_everywhere).calls > 100


BUSY = (
    prelude()
    + """
    .globl main
    .type main, @function
main:
    movl $2000000, %ecx
1:  decl %ecx
    jnz 1b
    PRINT "done\\n"
    ret
"""
)


def test_two_domains_at_two_ports() -> None:
    """While one is stopped the other does not run either, and can be stopped as well."""
    image, memory = load_image(kernel_image(BUSY)), 8 << 20
    with ExitStack() as stack:
        listeners = [stack.enter_context(closing(Listener(Address(LOOPBACK, 0)))) for _ in range(2)]
        machine = stack.enter_context(Machine(Machine.size_for(memory, memory)))
        domains = [machine.create(image, DomainConfig(memory=memory)) for _ in listeners]
        for pair in zip(domains, listeners, strict=True):
            server = stack.enter_context(closing(Server(machine, *pair)))
            server.wait()
        runner = stack.enter_context(ThreadPoolExecutor(1))
        run = runner.submit(machine.run, timeout=HOST_TIMEOUT)
        first, second = (
            stack.enter_context(closing(Remote(listener.address.port))) for listener in listeners
        )
        assert first.ask("?").startswith("T05")
        assert second.ask("?").startswith("T05")
        start = second.register(NUMBERS["eip"])
        second.send("vCont;c")
        second.raw(b"\x03")
        assert second.answer().startswith("T02")
        assert second.register(NUMBERS["eip"]) == start == domains[1].image.entry
        first.send("vCont;c")
        second.send("vCont;c")
        assert [first.answer(), second.answer()] == ["W00", "W00"]
        assert run.result(HOST_TIMEOUT).reason is StopReason.DONE
        assert [domain.console_output() for domain in domains] == [b"done\n"] * 2
