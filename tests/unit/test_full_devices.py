"""The devices of a bare PC, by themselves."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from paravane.cpu import Ram
from paravane.full.cmos import Cmos
from paravane.full.interrupt_controllers import InterruptControllers
from paravane.full.interval_timer import HERTZ, IntervalTimer
from paravane.full.keyboard_controller import KeyboardController
from paravane.full.physical_memory import PhysicalMemory
from paravane.full.ports import Ports
from paravane.full.serial_port import BASE, SerialPort
from paravane.full.text_screen import PAGE, TextScreen
from paravane.time.clock import VirtualClock
from paravane.time.timers import TimerQueue

if TYPE_CHECKING:
    from collections.abc import Iterator


class Register:
    """A device that remembers the last byte of each port."""

    def __init__(self) -> None:
        self.bytes: dict[int, int] = {}

    def read(self, port: int) -> int:
        return self.bytes.get(port, 0)

    def write(self, port: int, value: int) -> None:
        self.bytes[port] = value


def test_wide_accesses_are_one_to_each_port() -> None:
    ports, device = Ports(), Register()
    ports.claim(range(0x10, 0x13), device)
    ports.write(0x10, 4, 0x44332211)
    assert device.bytes == {0x10: 0x11, 0x11: 0x22, 0x12: 0x33}
    assert ports.read(0x10, 4) == 0xFF332211
    assert ports.read(0xFFFF, 2) == 0xFFFF


def test_port_belongs_to_one_device() -> None:
    ports = Ports()
    ports.claim((1,), Register())
    with pytest.raises(ValueError, match="0x1 is another"):
        ports.claim((1,), Register())


def _controllers(mode: int = 1) -> InterruptControllers:
    pair = InterruptControllers()
    for port, value in (
        *((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, mode), (0x21, 0)),
        *((0xA0, 0x11), (0xA1, 0x28), (0xA1, 2), (0xA1, mode), (0xA1, 0)),
    ):
        pair.write(port, value)
    return pair


def test_lower_requests_come_first_and_wait_for_an_end() -> None:
    pair = _controllers()
    pair.pulse(4)
    pair.pulse(1)
    assert pair.acknowledge() == 0x21
    assert not pair.pending
    pair.pulse(0)
    assert pair.acknowledge() == 0x20
    for _ in range(2):
        pair.write(0x20, 0x20)
    assert pair.acknowledge() == 0x24


def test_second_controller_interrupts_through_the_first() -> None:
    pair = _controllers()
    pair.pulse(14)
    assert pair.acknowledge() == 0x2E
    pair.pulse(8)
    assert not pair.pending  # input 2 of the first is in service
    pair.write(0xA0, 0x20)
    pair.write(0x20, 0x20)
    assert pair.acknowledge() == 0x28


def test_automatic_ends_let_the_next_in_at_once() -> None:
    pair = _controllers(mode=3)
    pair.pulse(1)
    pair.pulse(4)
    assert (pair.acknowledge(), pair.acknowledge(), pair.pending) == (0x21, 0x24, False)


def test_masked_requests_wait() -> None:
    pair = _controllers()
    pair.write(0x21, 0x02)
    pair.pulse(1)
    assert not pair.pending
    pair.write(0x20, 0x0A)
    assert pair.read(0x20) == 0x02
    pair.write(0x21, 0)
    assert pair.acknowledge() == 0x21
    pair.write(0x20, 0x0B)
    assert (pair.read(0x20), pair.read(0x21)) == (0x02, 0)


def test_automatic_ends_with_rotation_take_turns() -> None:
    pair = _controllers(mode=3)
    pair.write(0x20, 0x80)
    taken = []
    for _ in range(3):
        pair.pulse(1)
        pair.pulse(4)
        taken.append(pair.acknowledge() & 7)
    assert taken == [1, 4, 1]


def test_special_mask_lets_less_urgent_ones_in() -> None:
    pair = _controllers()
    pair.pulse(1)
    pair.acknowledge()
    pair.pulse(4)
    assert not pair.pending
    pair.write(0x21, 0x02)
    pair.write(0x20, 0x68)
    assert pair.acknowledge() == 0x24


def test_special_full_nesting_lets_the_second_ones_interrupt_each_other() -> None:
    pair = _controllers(mode=0x11)
    pair.pulse(14)
    assert pair.acknowledge() == 0x2E
    pair.pulse(8)
    assert pair.acknowledge() == 0x28


def test_poll_acknowledges() -> None:
    pair = _controllers()
    pair.pulse(4)
    pair.write(0x20, 0x0C)
    assert (pair.read(0x20), pair.pending) == (0x84, False)


def test_interrupt_that_is_gone_is_spurious() -> None:
    assert _controllers().acknowledge() == 0x27


class TimerBench:
    """A timer with the clock that it counts by."""

    def __init__(self) -> None:
        self.clock, self.timers, self.fired = VirtualClock(), TimerQueue(), 0
        self.timer = IntervalTimer(self.clock, self.timers, "d0", self._count)

    def _count(self) -> None:
        self.fired += 1

    def start(self, mode: int, value: int, counter: int = 0) -> None:
        self.timer.write(0x43, counter << 6 | 0x30 | mode << 1)
        self.timer.write(0x40 + counter, value & 0xFF)
        self.timer.write(0x40 + counter, value >> 8)

    def counts(self, number: int) -> None:
        """Let so many counts pass."""
        self.clock.ran(-(-number * 10**9 // HERTZ))
        self.timers.expire(self.clock.now())

    def latched(self, counter: int = 0) -> int:
        self.timer.write(0x43, counter << 6)
        low = self.timer.read(0x40 + counter)
        return low | self.timer.read(0x40 + counter) << 8


def test_periodic_timer_fires_each_time_it_comes_to_its_end() -> None:
    bench = TimerBench()
    bench.start(2, 10000)
    for expected in (1, 2, 3):
        bench.counts(10000)
        assert bench.fired == expected
    bench.counts(50000)
    assert bench.fired == 4  # one for all that were missed


def test_one_shot_timer_fires_once() -> None:
    bench = TimerBench()
    bench.start(0, 10000)
    bench.counts(10000)
    bench.counts(10000)
    assert bench.fired == 1


def test_latched_count_stays_until_it_is_read() -> None:
    bench = TimerBench()
    bench.start(2, 0x1000)
    bench.counts(0x10)
    assert bench.latched() == 0x0FF0
    bench.timer.write(0x43, 0)
    bench.counts(0x10)
    assert bench.timer.read(0x40) | bench.timer.read(0x40) << 8 == 0x0FF0


def test_counter_2_says_by_its_output_that_it_is_done() -> None:
    bench = TimerBench()
    bench.timer.write(0x61, 1)
    bench.start(0, 1000, counter=2)
    assert bench.timer.read(0x61) & 0x20 == 0
    bench.counts(1001)
    assert bench.timer.read(0x61) & 0x20


class SerialBench:
    def __init__(self) -> None:
        self.sent = b""
        self.line = False
        self.port = SerialPort(self._send, self._level)

    def _send(self, data: bytes) -> None:
        self.sent += data

    def _level(self, high: bool) -> None:
        self.line = high


def test_serial_port_sends_and_is_always_empty() -> None:
    bench = SerialBench()
    bench.port.write(BASE, ord("x"))
    assert bench.sent == b"x"
    assert bench.port.read(BASE + 5) == 0x60


def test_divisor_hides_data_and_interrupts() -> None:
    bench = SerialBench()
    bench.port.write(BASE + 3, 0x83)
    bench.port.write(BASE, 1)
    bench.port.write(BASE + 1, 2)
    assert (bench.port.read(BASE), bench.port.read(BASE + 1), bench.sent) == (1, 2, b"")
    bench.port.write(BASE + 3, 3)
    assert (bench.port.read(BASE + 1), bench.port.read(BASE + 3)) == (0, 3)


def test_received_bytes_interrupt_until_they_are_read() -> None:
    bench = SerialBench()
    bench.port.write(BASE + 4, 8)
    bench.port.write(BASE + 1, 1)
    assert bench.port.feed(b"ab") == 2
    assert (bench.line, bench.port.read(BASE + 2)) == (True, 4)
    assert bytes(bench.port.read(BASE) for _ in range(2)) == b"ab"
    assert (bench.line, bench.port.read(BASE + 2), bench.port.read(BASE + 5)) == (False, 1, 0x60)


def test_empty_transmitter_interrupts_until_it_is_told() -> None:
    bench = SerialBench()
    bench.port.write(BASE + 4, 8)
    bench.port.write(BASE + 1, 2)
    assert (bench.line, bench.port.read(BASE + 2)) == (True, 2)
    assert (bench.line, bench.port.read(BASE + 2)) == (False, 1)
    bench.port.write(BASE, 0)
    assert bench.line


def test_loopback_receives_what_is_sent() -> None:
    bench = SerialBench()
    bench.port.write(BASE + 4, 0x10)
    bench.port.write(BASE, 0xAE)
    assert (bench.port.read(BASE), bench.sent) == (0xAE, b"")
    bench.port.write(BASE + 4, 0x1A)  # as drivers find out whether there is a port
    assert bench.port.read(BASE + 6) == 0x90


def test_fifo_interrupts_at_its_level_and_after_a_while() -> None:
    bench = SerialBench()
    bench.port.write(BASE + 2, 0x41)  # FIFOs, four bytes
    bench.port.write(BASE + 1, 1)
    bench.port.feed(b"abc")
    assert (bench.line, bench.port.read(BASE + 2)) == (True, 0xCC)
    bench.port.feed(b"de")
    assert bench.port.read(BASE + 2) == 0xC4


def test_what_nobody_has_looked_at_outlives_the_clearing_of_fifos() -> None:
    bench = SerialBench()
    bench.port.feed(b"ab")
    bench.port.write(BASE + 2, 0x07)
    assert bench.port.read(BASE + 5) == 0x61
    bench.port.write(BASE + 2, 0x03)
    assert (bench.port.read(BASE + 5), bench.port.waiting) == (0x60, 0)


def test_each_byte_of_a_receiver_of_one_is_a_request_of_its_own() -> None:
    """An interrupt controller sees edges alone."""
    levels: list[bool] = []
    port = SerialPort(lambda data: None, levels.append)
    port.write(BASE + 1, 1)
    port.feed(b"ab")
    levels.clear()
    assert port.read(BASE) == ord("a")
    assert (levels[0], levels[-1]) == (False, True)


def test_serial_port_takes_no_more_than_it_has_room_for() -> None:
    bench = SerialBench()
    room = bench.port.room
    assert bench.port.feed(bytes(room + 1)) == room
    assert bench.port.feed(b"x") == 0


def _cmos(cmos: Cmos, index: int) -> int:
    cmos.write(0x70, index)
    return cmos.read(0x71)


def test_cmos_tells_the_clocks_time_in_decimal() -> None:
    clock = VirtualClock()
    cmos = Cmos(clock, 64 << 20)
    clock.ran(5 * 10**9)
    # The virtual clock begins on 2001-09-09 at 01:46:40, a Sunday.
    found = [_cmos(cmos, index) for index in (0, 2, 4, 6, 7, 8, 9, 0x32)]
    assert found == [0x45, 0x46, 0x01, 1, 0x09, 0x09, 0x01, 0x20]
    cmos.write(0x70, 0x0B)
    cmos.write(0x71, 0x06)
    assert _cmos(cmos, 0) == 45


def test_cmos_tells_how_much_memory_there_is() -> None:
    cmos = Cmos(VirtualClock(), 24 << 20)
    assert _cmos(cmos, 0x17) | _cmos(cmos, 0x18) << 8 == 23 * 1024
    assert _cmos(cmos, 0x34) | _cmos(cmos, 0x35) << 8 == (8 << 20) >> 16


@pytest.fixture
def memory() -> Iterator[PhysicalMemory]:
    """As much of it as the smallest machine has."""
    with closing(Ram(256)) as ram:
        yield PhysicalMemory(ram, 1 << 20)


def _crtc(screen: TextScreen, index: int, value: int) -> None:
    screen.write(0x3D4, index)
    screen.write(0x3D5, value)


def test_screen_shows_its_memory_as_text(memory: PhysicalMemory) -> None:
    screen = TextScreen(memory)
    assert screen.text() == ""
    memory.write(PAGE + 2 * 81, b"A\x07\x03\x1f\x82\x07\x00\x07\x1b\x07")
    assert screen.text() == "\n A♥é ←\n"


def test_screen_begins_where_the_guest_says_and_wraps_around(memory: PhysicalMemory) -> None:
    screen = TextScreen(memory)
    memory.write(PAGE, b"0\x07")
    memory.write(PAGE + 0x7FFE, b"L\x07")
    _crtc(screen, 0x0C, 0x3F)
    _crtc(screen, 0x0D, 0xFF)
    assert screen.text() == "L0\n"
    _crtc(screen, 0x0C, 0xFF)  # beyond its memory is its memory again
    assert screen.text() == "L0\n"


def test_cursor_and_other_registers_read_back(memory: PhysicalMemory) -> None:
    screen = TextScreen(memory)
    _crtc(screen, 0x0E, 0x01)
    _crtc(screen, 0x0F, 0x50)
    assert [screen.read(0x3D5), screen.read(0x3D4)] == [0x50, 0x0F]
    _crtc(screen, 0xFF, 7)
    assert screen.read(0x3D5) == 0
    screen.read(0x3DA)
    for value in (0x10, 0x0C):
        screen.write(0x3C0, value)
    assert screen.read(0x3C1) == 0x0C
    assert screen.read(0x3DA) != screen.read(0x3DA)  # a retrace begins and ends


def test_what_is_sent_to_no_keyboard_and_no_mouse_times_out() -> None:
    """The kernel is not left to wait: the controller asks for the byte again, and says what is wrong."""
    controller = KeyboardController(lambda by: None)
    for mouse, says in ((False, 0x41), (True, 0x61)):
        if mouse:
            controller.write(0x64, 0xD4)
            assert controller.read(0x64) & 0x61 == 0
        controller.write(0x60, 0xF2)
        assert controller.read(0x64) & 0x61 == says
        assert controller.read(0x60) == 0xFE
        assert controller.read(0x64) & 0x61 == 0
    for test, passed in ((0xA9, 0), (0xAA, 0x55), (0xAB, 0)):
        controller.write(0x60, 0xF4)
        controller.write(0x64, test)
        assert controller.read(0x64) & 0x61 == 1
        assert controller.read(0x60) == passed


def test_keyboard_controller_answers_and_resets() -> None:
    resets: list[str] = []
    controller = KeyboardController(resets.append)
    controller.write(0x64, 0xAA)
    assert controller.read(0x64) & 3 == 1
    assert controller.read(0x60) == 0x55
    assert controller.read(0x64) & 3 == 0
    for value in (0xFF, 0xFD):
        controller.write(0x64, value)
    controller.write(0x60, 0)  # to a keyboard that is not there
    controller.read(0x60)
    controller.write(0x64, 0xD1)
    controller.write(0x60, 0xDF)
    controller.write(0x64, 0xD0)
    assert controller.read(0x60) == 0xDF
    controller.write(0x92, 2)
    assert resets == []
    controller.write(0x64, 0xFE)
    controller.write(0x64, 0xD1)
    controller.write(0x60, 0)
    controller.write(0x92, 3)
    controller.write(0xCF9, 6)
    assert resets == ["the keyboard controller", "the keyboard controller", "port 0x92", "port 0xcf9"]


def test_who_waits_for_room_at_the_serial_port_is_told_once() -> None:
    """However often it says so, as at a console of Xen's."""
    port = SerialPort(lambda data: None, lambda high: None)
    assert port.feed(b"ab" * 4096) == 4096
    told: list[int] = []

    def room_made() -> None:
        told.append(port.room)

    for _ in range(3):
        port.when_room(room_made)
    assert (port.read(BASE), told) == (ord("a"), [1])
    assert (port.read(BASE), told) == (ord("b"), [1])
