"""The 2-level delivery ABI: which bits change in the pages a guest sees, and when its vcpus are woken."""

from __future__ import annotations

import pytest

from paravane.abi.shared_info import SHARED_INFO, VCPU_INFO
from paravane.cpu import Ram
from paravane.events import TwoLevel, Upcalls

PAGE = 4096
BASE = 3 * PAGE
PENDING = BASE + SHARED_INFO.offsets["evtchn_pending"]
MASK = BASE + SHARED_INFO.offsets["evtchn_mask"]
SEL = VCPU_INFO.offsets["evtchn_pending_sel"]


class Guest:
    def __init__(self, nr_vcpus: int = 2) -> None:
        self.memory = Ram(16)
        self.woken: list[int] = []
        self.upcalls = Upcalls(self.memory, BASE, nr_vcpus, self.woken.append)
        self.events = TwoLevel(self.memory, BASE, self.upcalls)

    def word(self, maddr: int) -> int:
        return int(self.memory.words[maddr >> 2])

    def set_word(self, maddr: int, value: int) -> None:
        self.memory.words[maddr >> 2] = value


@pytest.fixture
def guest() -> Guest:
    return Guest()


def test_a_port_sets_its_bit_its_word_and_the_upcall(guest: Guest) -> None:
    guest.events.set_pending(70, 1)
    assert guest.word(PENDING + 8) == 1 << 6
    assert guest.word(BASE + VCPU_INFO.size + SEL) == 1 << 2
    assert guest.memory.bytes[BASE + VCPU_INFO.size] == 1
    assert guest.word(BASE + SEL) == 0
    assert guest.woken == [1]
    assert guest.upcalls.due(1)
    assert not guest.upcalls.due(0)


def test_the_highest_port_uses_the_highest_bits(guest: Guest) -> None:
    guest.events.set_pending(1023, 0)
    assert guest.word(PENDING + 31 * 4) == 1 << 31
    assert guest.word(BASE + SEL) == 1 << 31


def test_a_pending_port_notifies_only_once(guest: Guest) -> None:
    guest.events.set_pending(5, 0)
    guest.memory.bytes[BASE] = 0
    guest.set_word(BASE + SEL, 0)
    guest.events.set_pending(5, 0)
    assert guest.memory.bytes[BASE] == 0
    assert guest.woken == [0]


def test_a_second_port_does_not_wake_a_vcpu_that_has_an_upcall_pending(guest: Guest) -> None:
    guest.events.set_pending(5, 0)
    guest.events.set_pending(40, 0)
    assert guest.word(BASE + SEL) == 3
    assert guest.woken == [0]


def test_a_selected_word_raises_no_second_upcall(guest: Guest) -> None:
    guest.events.set_pending(5, 0)
    guest.memory.bytes[BASE] = 0
    guest.events.set_pending(6, 0)
    assert guest.word(PENDING) == 0x60
    assert guest.memory.bytes[BASE] == 0


def test_a_masked_port_only_turns_pending(guest: Guest) -> None:
    guest.set_word(MASK, 1 << 5)
    guest.events.set_pending(5, 0)
    assert guest.word(PENDING) == 1 << 5
    assert guest.word(BASE + SEL) == 0
    assert guest.woken == []


def test_unmask_notifies_for_what_fired_meanwhile(guest: Guest) -> None:
    guest.set_word(MASK, 0xFFFF_FFFF)
    guest.events.set_pending(5, 1)
    guest.events.unmask(5, 1)
    assert guest.word(MASK) == 0xFFFF_FFFF & ~(1 << 5)
    assert guest.woken == [1]


def test_unmask_of_an_unmasked_port_does_nothing(guest: Guest) -> None:
    guest.set_word(PENDING, 1 << 5)
    guest.events.unmask(5, 0)
    assert guest.woken == []


def test_a_masked_upcall_is_not_due(guest: Guest) -> None:
    guest.memory.bytes[BASE + 1] = 1
    guest.events.set_pending(5, 0)
    assert not guest.upcalls.due(0)
    assert guest.woken == [0]


def test_clear_pending_clears_one_bit(guest: Guest) -> None:
    guest.set_word(PENDING, 0xFF)
    guest.events.clear_pending(3)
    assert guest.word(PENDING) == 0xF7


def test_a_moved_vcpu_info_keeps_its_contents_and_asks_for_a_look(guest: Guest) -> None:
    guest.memory.bytes[BASE + 1] = 1
    guest.set_word(BASE + VCPU_INFO.offsets["arch.cr2"], 0x1234)
    target = 5 * PAGE + 64
    guest.upcalls.move(0, target)
    assert guest.memory.bytes[target] == 1
    assert guest.memory.bytes[target + 1] == 1
    assert guest.word(target + SEL) == 0xFFFF_FFFF
    assert guest.word(target + VCPU_INFO.offsets["arch.cr2"]) == 0x1234
    guest.memory.bytes[target] = 0
    guest.set_word(target + SEL, 0)
    guest.events.set_pending(33, 0)
    assert guest.word(target + SEL) == 2
    assert guest.word(BASE + SEL) == 0


def test_a_vcpu_without_vcpu_info_gets_one_with_upcalls_masked() -> None:
    guest = Guest(nr_vcpus=34)
    guest.events.set_pending(5, 33)
    assert guest.upcalls.infos[33].maddr == 0
    assert guest.woken == []
    assert not guest.upcalls.due(33)
    guest.upcalls.move(33, 6 * PAGE)
    assert bytes(guest.memory.bytes[6 * PAGE : 6 * PAGE + 2]) == b"\x01\x01"
    assert not guest.upcalls.due(33)


def test_vcpu_infos_do_not_run_into_the_pending_bits() -> None:
    guest = Guest(nr_vcpus=32)
    last = guest.upcalls.infos[31].maddr
    assert last + VCPU_INFO.size == PENDING


def test_a_poller_of_one_port_wakes_for_that_port_even_masked(guest: Guest) -> None:
    guest.set_word(MASK, 0xFFFF_FFFF)
    guest.upcalls.pollers[1] = 7
    guest.events.set_pending(8, 0)
    assert guest.woken == []
    guest.events.set_pending(7, 0)
    assert guest.woken == [1]
    guest.events.clear_pending(7)
    guest.events.set_pending(7, 0)
    assert guest.woken == [1]


def test_a_poller_of_several_ports_wakes_for_any(guest: Guest) -> None:
    guest.set_word(MASK, 0xFFFF_FFFF)
    guest.upcalls.pollers[0] = None
    guest.events.set_pending(9, 1)
    assert guest.woken == [0]
