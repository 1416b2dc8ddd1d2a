"""A stop from another thread must not split an instruction: what it would spoil is memory, silently."""

import struct
import threading

import pytest

from paravane.cpu import EngineError, SliceTimer, processor
from paravane.cpu.engine import stops
from tests.support.cpu_bench import DATA, DATA_MFN, Bench

ROUNDS = 3_000_000
STOPS = 5
"""As many at least are to hit those instructions. On a busy host the timer's thread may have to wait."""

# 1: incl (DATA); xchg %ebx, (DATA+4); addl $3, (DATA+8); loop 1b; int $0x20
READ_MODIFY_WRITE = (
    bytes.fromhex("ff05") + struct.pack("<I", DATA)
    + bytes.fromhex("871d") + struct.pack("<I", DATA + 4)
    + bytes.fromhex("8305") + struct.pack("<I", DATA + 8) + b"\x03"
    + bytes.fromhex("e2eb") + b"\xcd\x20"
)  # fmt: skip


def test_read_modify_write_instructions_are_executed_once_under_a_rain_of_stops(
    bench: Bench,
) -> None:
    bench.cpu.ebx = 1
    stops_seen = times = 0
    while stops_seen <= STOPS:
        bench.kernel()
        bench.code(READ_MODIFY_WRITE)
        bench.cpu.ecx = ROUNDS
        bench.traps.clear()
        with SliceTimer(0.0002) as timer:
            timer.arm(bench.cpu)
            while not bench.traps:
                bench.cpu.run()
                stops_seen += 1
            timer.disarm()
        stops_seen -= 1  # the last run ended by its trap
        times += 1
        counted, swapped, added = struct.unpack_from("<III", bench.ram.bytes, DATA_MFN << 12)
        assert (counted, added) == (times * ROUNDS, 3 * times * ROUNDS)
        assert {swapped, bench.cpu.ebx} == {0, 1}


@pytest.mark.parametrize("leaves_blocks", [True, False])
def test_a_stop_does_not_keep_a_new_block_from_its_hooks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, leaves_blocks: bool
) -> None:
    """Where the engine's own stop is all there is, it is put off until after the comparison in that block,
    which the engine alone gets wrong."""
    cpu, hooks = bench.cpu, bench.cpu._hooks
    look, ask = hooks._note_block, cpu._ask_to_stop
    asked: list[int] = []
    if not leaves_blocks:
        monkeypatch.setattr(cpu, "_block_exit", None)

    def look_and_stop(pc: int, size: int, instructions: int) -> None:
        look(pc, size, instructions)
        if not hooks.restart:
            other = threading.Thread(target=cpu.stop)
            other.start()
            other.join()

    def note_and_ask(*, in_block: bool) -> None:
        asked.append(threading.get_ident())
        ask(in_block=in_block)

    bench.code(bytes.fromhex("660f3a63ca0ccd20"))  # pcmpistri $0xc, %xmm2, %xmm1; int $0x20
    cpu.write_xmm(1, b"abcd" + bytes(12))
    cpu.write_xmm(2, b"x" * 13 + b"abc")
    monkeypatch.setattr(processor, "_STOP_TRIES", 0)  # it is not repeated
    monkeypatch.setattr(hooks, "_note_block", look_and_stop)
    monkeypatch.setattr(cpu, "_ask_to_stop", note_and_ask)
    cpu.run()
    assert bool(asked) == leaves_blocks
    while not bench.traps:
        cpu.run()
    assert cpu.ecx == 13


def test_the_switch_lies_at_one_place_only_and_does_what_it_should() -> None:
    probe = stops._Probe()
    found = [offset for offset in probe.candidates() if probe.works(offset)]
    probe.close()
    assert found == [stops.whole_blocks_switch()]


def test_an_engine_without_the_switch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stops._Probe, "works", lambda probe, offset: False)
    stops.whole_blocks_switch.cache_clear()
    with pytest.raises(EngineError, match="between instructions"):
        stops.whole_blocks_switch()
    stops.whole_blocks_switch.cache_clear()
