"""The engine dies while it translates or in a helper, and nothing but its guest notices."""

from __future__ import annotations

import ctypes
import logging
import signal
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from paravane.cpu import Cpu, EngineError, string_hooks
from paravane.cpu.engine import guard, host_signals
from paravane.gateway.native import SWITCH, find
from paravane.gateway.structs import SET_PAGE
from paravane.gateway.vcpu_gateway import VcpuGateway
from tests.support.cpu_bench import CODE, DATA, STACK, USER, Bench, Trap
from tests.support.second_run import BOTH_MODES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from paravane.gateway.vcpu_tlb import VcpuTlb

pytestmark = pytest.mark.skipif(bool(guard.why_not()), reason=f"needs {guard.why_not()}")

INT20 = b"\xcd\x20"
LOCKED_BIT_TESTS = {
    "bt": "f0 0fa3c0",
    "bts": "f0 0fabc0",
    "btr": "f0 0fb3c8",
    "btc": "f0 0fbbd3",
    "bt imm": "f0 0fbae003",
    "bts imm": "f0 0fbae803",
    "btr imm": "f0 0fbaf003",
    "btc imm": "f0 0fbaf803",
    "16 bits": "66f0 0fa3c0",
}
# mov $0x80000000,%edx; xor %eax,%eax; mov $-1,%ecx; idiv %ecx
OVERFLOW = bytes.fromhex("ba00000080 31c0 b9ffffffff f7f9")
# mov $0x80000000,%edx; pcmpestri $0,%xmm1,%xmm0
OUT_OF_BOUNDS = bytes.fromhex("ba00000080 660f3a61c100")


def native_hook() -> VcpuGateway:
    """A native hook that leaves every trap to Python's, of the library that SWITCH names."""
    found = find()
    assert found is not None
    return VcpuGateway(found)


@pytest.fixture(params=["python", "c"])
def bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A PAE machine, whose hook is Python's or a native one."""
    if request.param == "c":
        monkeypatch.setenv(SWITCH, str(request.getfixturevalue("native")))
        request.node.add_marker(BOTH_MODES)
        machine = Bench(trap_entry=native_hook())
    else:
        machine = Bench()
    yield machine
    machine.close()


@pytest.mark.parametrize("ring", [1, 3])
@pytest.mark.parametrize("form", LOCKED_BIT_TESTS)
def test_a_locked_bit_test_of_a_register_is_undefined(bench: Bench, form: str, ring: int) -> None:
    start = (CODE if ring == 1 else USER) + 0x40
    (bench.kernel if ring == 1 else bench.user)(start)
    code = bytes.fromhex(LOCKED_BIT_TESTS[form])
    assert bench.run(b"\x90\x40" + code + INT20, at=start) == [Trap("exception", 6, 0, start + 2, ring)]
    assert bench.cpu.eax == 1


@pytest.mark.parametrize("ring", [1, 3])
def test_a_quotient_that_overflows_in_the_host_is_a_divide_error(bench: Bench, ring: int) -> None:
    start = CODE if ring == 1 else USER
    (bench.kernel if ring == 1 else bench.user)(start)
    assert bench.run(OVERFLOW + INT20, at=start) == [Trap("exception", 0, 0, start + 12, ring)]
    assert (bench.cpu.edx, bench.cpu.eax, bench.cpu.ecx) == (0x80000000, 0, 0xFFFFFFFF)


@pytest.mark.parametrize(
    "code",
    ["d40a", "d50a", "660f70c11b", "dd0500100100ddd8", "d8c1" * 2],
    ids=["aam", "aad", "pshufd", "fldl", "fadd"],
)
def test_a_long_straight_block_runs(bench: Bench, code: str) -> None:
    count = 600
    program = b"\x31\xdb" + (bytes.fromhex(code)) * count + b"\x43" + INT20
    bench.map(CODE + 0x1000, 17, 0x3)
    bench.kernel()
    traps = bench.run(program)
    assert traps == [Trap("interrupt", 0x20, 0, CODE + len(program), 1)]
    assert bench.cpu.ebx == 1


def test_a_long_straight_block_gives_the_right_result(bench: Bench) -> None:
    # 500 times: aad $1 adds AH to AL and clears AH; mov $1,%ah
    program = b"\x31\xc0" + b"\xb4\x01\xd5\x01" * 500 + INT20
    assert bench.run(program) == [Trap("interrupt", 0x20, 0, CODE + len(program), 1)]
    assert bench.cpu.eax == 500 & 0xFF


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the engine execute its deadly instruction by itself."""
    monkeypatch.setattr(string_hooks, "engine_is_wrong", lambda *_: False)


@pytest.mark.usefixtures("deadly")
def test_a_crash_in_a_helper_ends_the_run_at_its_instruction(bench: Bench) -> None:
    bench.cpu.esi = 0x1234
    with pytest.raises(EngineError, match="died of SIGSEGV in helper_pcmpestri_xmm .*eip=00010005"):
        bench.run(OUT_OF_BOUNDS)
    assert (bench.cpu.eip, bench.cpu.edx, bench.cpu.esi) == (CODE + 5, 0x80000000, 0x1234)
    assert bench.traps == []
    # It is whole, and goes on when it is told to.
    bench.kernel()
    assert bench.run(b"\x90" + INT20) == [Trap("interrupt", 0x20, 0, CODE + 3, 1)]


def test_an_instruction_that_ought_to_be_translated_ends_the_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cpu, "at_undefined", lambda *_: False)
    with pytest.raises(EngineError, match=r"died of SIGABRT in tcg_gen_code .*eip=00010001"):
        bench.run(b"\x90" + bytes.fromhex("f00fa3c0"))
    assert bench.cpu.eip == CODE + 1


def die_many_times(bench: Bench, count: int) -> list[int]:
    """Alternately #UD and #DE, each resumed past its instruction; where they were."""
    lock, divide = bytes.fromhex("f00fa3c0"), OVERFLOW
    bench.code(lock + divide + b"\xeb" + bytes([256 - len(lock + divide) - 2]))
    seen: list[int] = []

    def on_trap(trap: Trap) -> None:
        seen.append(trap.vector)
        bench.cpu.eip += {6: len(lock), 0: 2}[trap.vector]
        if len(seen) == count:
            bench.cpu.stop()

    bench.handler.on_trap = on_trap
    bench.run()
    return seen


def test_thousands_of_deaths_leave_nothing_behind(bench: Bench) -> None:
    assert die_many_times(bench, 4000) == [6, 0] * 2000
    bench.handler.on_trap = lambda trap: bench.cpu.stop()
    bench.kernel()
    assert bench.run(b"\x90" + INT20)[-1] == Trap("interrupt", 0x20, 0, CODE + 3, 1)


def test_engines_in_several_threads_die_and_go_on() -> None:
    benches = [Bench() for _ in range(3)]
    results: list[list[int]] = []
    threads = [threading.Thread(target=lambda b=b: results.append(die_many_times(b, 400))) for b in benches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for bench in benches:
        bench.close()
    assert results == [[6, 0] * 200] * 3


@pytest.mark.usefixtures("deadly")
def test_another_processor_goes_on_beside_one_that_died(bench: Bench) -> None:
    other = Bench()
    with pytest.raises(EngineError):
        bench.run(OUT_OF_BOUNDS)
    assert other.run(b"\x90" + INT20) == [Trap("interrupt", 0x20, 0, CODE + 3, 1)]
    other.close()


def test_a_death_right_after_a_stack_switch_is_told_at_its_instruction(bench: Bench) -> None:
    # mov %ss,%ax; mov %ax,%ss: the next instruction is translated alone anyway.
    code = bytes.fromhex("668cd0 8ed0 f00fa3c0")
    assert bench.run(code) == [Trap("exception", 6, 0, CODE + 5, 1)]


def test_the_handler_is_put_back_when_somebody_replaced_it(bench: Bench) -> None:
    found = guard.find()
    assert found is not None
    found.remove()
    try:
        assert host_signals.get_action(signal.SIGFPE).handler != found._action.handler
    finally:
        found.ensure()
    assert bench.run(OVERFLOW) == [Trap("exception", 0, 0, CODE + 12, 1)]


def test_what_an_engine_is_made_of_is_checked(bench: Bench) -> None:
    patient = bench.cpu._engine.patient
    assert patient is not None
    assert ctypes.c_uint64.from_address(patient.env + 8 * 4).value == bench.cpu.esp == STACK + 0x1000
    assert patient.one_by_one == bench.cpu._layout.inhibit
    assert patient.one_by_one.bit_count() == 1


def test_without_a_guard_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(guard, "find", lambda: None)
    monkeypatch.setattr(guard, "why_not", lambda: "Linux on x86-64")
    guard.warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            bench = Bench()
            assert bench.run(b"\x90" + INT20) == [Trap("interrupt", 0x20, 0, CODE + 3, 1)]
            bench.close()
    assert [record.getMessage() for record in caplog.records] == [
        "no guest is kept from ending this process by a fault in the engine: that takes Linux on x86-64"
    ]


PROGRAM = """
import ctypes, faulthandler, os, signal, sys
from tests.support.cpu_bench import Bench
bench = Bench()
{before}
bench.code(bytes.fromhex("{code}"))
def on_trap(trap):
    {trap}
bench.handler.on_trap = on_trap
bench.cpu.run()
print("went on", bench.traps[-1].vector)
"""


def other_process(
    code: bytes, *, before: str = "", trap: str = "bench.cpu.stop()", options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(before=before, code=code.hex(), trap=trap)
    return subprocess.run(
        [sys.executable, *options, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )


DIES_ANYWAY = {
    "a null pointer in a hook": "ctypes.string_at(0)",
    "abort in a hook": "os.abort()",
    "a signal from outside": 'os.system(f"kill -SEGV {os.getpid()}")',
}


@pytest.mark.parametrize("trap", DIES_ANYWAY.values(), ids=list(DIES_ANYWAY))
@pytest.mark.parametrize("options", [(), ("-X", "faulthandler")], ids=["plain", "faulthandler"])
def test_what_is_no_engines_death_ends_the_process(trap: str, options: tuple[str, ...]) -> None:
    ended = other_process(INT20, trap=trap, options=options)
    assert ended.returncode == (-signal.SIGABRT if "abort" in trap else -signal.SIGSEGV)
    assert "went on" not in ended.stdout
    assert ("Fatal Python error" in ended.stderr) == bool(options)
    assert not options or "on_trap" in ended.stderr


def test_a_crash_of_the_native_hook_ends_the_process(native: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, str(native))
    before = """
from tests.substrate.test_engine_deaths import native_hook
hook = native_hook()
bench = Bench(trap_entry=hook)
"""
    ended = other_process(INT20, before=before)
    assert (ended.returncode, ended.stdout) == (0, "went on 32\n"), ended.stderr
    # A block that is ready has pointers; in this one they are null, which UBSan's build does not even try.
    ended = other_process(INT20, before=before + "hook._block.ready = 1")
    assert ended.returncode in (-signal.SIGSEGV, -signal.SIGILL), ended.stderr
    assert ended.stdout == ""


def test_a_fault_handler_that_is_enabled_later_takes_nothing_away() -> None:
    ended = other_process(OVERFLOW, before="faulthandler.enable()")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "went on 0\n", "")


def test_a_handler_that_fails_itself_does_not_loop() -> None:
    broken = "from paravane.cpu.engine import guard; guard.Guard._survive = lambda *_: 1 // 0"
    ended = other_process(OVERFLOW, before=broken)
    assert ended.returncode == -signal.SIGFPE
    assert "ZeroDivisionError" in ended.stderr


def abort_in(fill: VcpuTlb) -> int:
    """The library's function that it calls dies."""
    fill._block.set_page = ctypes.cast(ctypes.CDLL(None).abort, SET_PAGE)
    return signal.SIGABRT


def fault_in(fill: VcpuTlb) -> int:
    """It does itself, at its first look at a page table."""
    fill._block.ram = ctypes.cast(8, ctypes.POINTER(ctypes.c_uint8))
    return signal.SIGSEGV


@pytest.mark.parametrize("die", [abort_in, fault_in])
@pytest.mark.parametrize("access", ["store", "load"])
def test_a_death_below_the_native_tlb_fill_ends_the_run(
    fill: VcpuTlb, die: Callable[[VcpuTlb], int], access: str
) -> None:
    """With the exact EIP for a store. For a load, whoever fills, it is its block's: translated code calls the
    helper from a place that the engine cannot tell from others."""
    bench = Bench(tlb_fill=fill)
    number = list[int]()
    # inc %eax; int $0x82; then in one block: inc %eax; mov %ebx, DATA or DATA, %ebx
    code = b"\x40\xcd\x82\x40" + (b"\x89\x1d" if access == "store" else b"\x8b\x1d") + struct.pack("<I", DATA)
    bench.handler.on_trap = lambda trap: number.append(die(fill))
    bench.cpu.eax = 0
    try:
        with pytest.raises(EngineError, match="died of") as raised:
            bench.run(code + INT20)
        assert signal.Signals(number[0]).name in str(raised.value)
        assert (bench.cpu.eip, bench.cpu.eax) == (CODE + (4 if access == "store" else 3), 2)
        assert len(bench.traps) == 1
    finally:
        bench.close()
