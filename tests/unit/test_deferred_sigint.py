"""Ctrl-C while guests run: where it goes, and how often a handler is installed for it."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from paravane import DomainConfig, Machine, load_image
from paravane.asm import assemble_text
from paravane.asm.elf_writer import write_elf
from paravane.cpu.interrupts import DeferredSigint

YIELDS = """
    .include "runtime.inc"
    XEN_NOTES yields
    .text
    .type main, @function
main:
    movl $40, %esi
1:  movl $SCHEDOP_yield, %ebx
    HYPERCALL sched_op
    decl %esi
    jnz 1b
    ret
"""


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("held", [False, True])
def test_one_that_comes_in_a_run_stops_it_and_is_delivered_after_it(held: bool) -> None:
    sigint, seen = DeferredSigint(), []

    def run() -> None:
        _interrupt()
        seen.append("ran on")

    def stop() -> None:
        seen.append("stop")

    def runs() -> None:
        with pytest.raises(KeyboardInterrupt):
            sigint.during(run, stop)
        sigint.during(lambda: None, stop)

    if held:
        with sigint:
            runs()
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    else:
        runs()
    assert seen == ["stop", "ran on"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_one_that_comes_between_two_runs_is_delivered_at_once() -> None:
    sigint = DeferredSigint()
    with sigint:
        sigint.during(lambda: None, lambda: None)
        with pytest.raises(KeyboardInterrupt):
            _interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_that_is_installed_between_two_runs_stays() -> None:
    def own(_number: int, _frame: object) -> None:
        pass

    try:
        with DeferredSigint():
            signal.signal(signal.SIGINT, own)
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_slices_do_not_install_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    image = load_image(write_elf(assemble_text(YIELDS)))
    installed: list[object] = []
    install = signal.signal

    def noted(number: int, handler: Any) -> Any:
        installed.append(handler)
        return install(number, handler)

    with Machine(Machine.size_for(4 << 20, 4 << 20)) as machine:
        for name in ("a", "b"):
            machine.create(image, DomainConfig(name, memory=4 << 20, sink=len))
        monkeypatch.setattr(signal, "signal", noted)
        machine.run()
        assert machine.platform.traps > 80
    assert len(installed) == 2
