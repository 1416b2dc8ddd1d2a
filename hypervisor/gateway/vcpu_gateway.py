"""The gateway of one vcpu: what its C code is told, and when."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from paravane.cpu.native_view import native_view
from paravane.gateway.structs import (
    FLUSH,
    FLUSH_PAGE,
    MOST_ANSWERS,
    MOST_LEAVES,
    REGISTER_FUNCTION,
    Answer,
    Block,
    Cell,
    Layout,
    Leaf,
    Numbers,
    Python,
)
from paravane.memory.frames import L1
from paravane.time.clock import FollowingClock, HostClock, VirtualClock

if TYPE_CHECKING:
    from array import array
    from collections.abc import Mapping

    from paravane.cpu import Cpu
    from paravane.cpu.entry import PreparedEntry
    from paravane.cpu.trap_entry import EntryHooks
    from paravane.events import EventChannels
    from paravane.gateway.native import Native
    from paravane.memory.owner import Installed, Owner
    from paravane.platform import Platform
    from paravane.time.vcpu_time import VcpuTime
    from paravane.traps.emulate.cpuid import CpuidPolicy
    from paravane.traps.state import TrapState


class VcpuGateway:
    """A processor's way in (paravane.cpu.trap_entry.TrapEntry) and what its prepared ways into the guest are
    told to (paravane.traps.entries.NativeWays)."""

    def __init__(self, native: Native) -> None:
        self._block = Block()
        self.hooks = native.hooks
        self.user = ctypes.addressof(self._block)
        # What the block points to stays as long as the block does.
        self._kept: list[object] = [native]

    @property
    def served(self) -> int:
        """Traps that were served without Python."""
        return int(self._block.served)

    def fall_back(self, hooks: EntryHooks) -> None:
        """`hooks`, Python's own, are to have all that is not served in C."""
        self._block.python = Python(*hooks)

    def connect(
        self,
        platform: Platform,
        memory: Owner,
        installed: Installed,
        state: TrapState,
        time: VcpuTime,
        events: EventChannels,
        begun: array[int],
        answers: Mapping[tuple[int, int], int],
    ) -> None:
        """From now on serve what can be served. `answers` has the hypercalls whose answer is always the same:
        number and first argument -> result. `begun` is the vcpu's
        (paravane.preemption)."""
        clock = platform.clock
        if type(clock) is VirtualClock or type(clock) is FollowingClock:
            self._block.clock = self._cell(clock.cell)
        elif type(clock) is HostClock:
            self._block.clock_start = clock.start
        else:
            return  # nobody but itself knows how it counts
        self._place(state.cpu)
        self._share(platform, memory, state, time)
        self._share_memory(platform, memory, state.cpu)
        self._share_leaves(state.policy)
        self._share_events(events, state.host.vcpu_id)
        memory.states[state.host.vcpu_id] = native_view(state.cpu).words
        self._block.memory.installed = self._cell(installed.cell)
        self._block.memory.begun = self._cell(begun)
        if len(answers) > MOST_ANSWERS:
            raise ValueError(f"there is room for {MOST_ANSWERS} answers, not for {len(answers)}")
        for at, ((number, command), result) in enumerate(answers.items()):
            self._block.answers[at] = Answer(number, command, result & 0xFFFFFFFF)
        self._block.nr_answers = len(answers)
        self._block.ready = 1

    def open(self, slot: int, cs: int, ss: int, entry: PreparedEntry) -> None:
        """In `slot` is the way into these segments."""
        way, plan = self._block.traps.ways[slot], entry.plan()
        way.cs, way.ss, way.ring = cs, ss, plan.ring
        way.stack_base, way.code_limit = entry.stack_base, entry.code_limit
        way.hflags_keep, way.hflags_set = plan.keep, plan.set
        for at, (index, value) in enumerate(plan.stores):
            way.store_at[at], way.store_value[at] = index, value
        for at, (maddr, value, size) in enumerate(plan.watched):
            watch = way.watches[at]
            watch.maddr, watch.value, watch.size = maddr, value, size
        way.nr_watches = len(plan.watched)
        way.open = 1

    def shut(self, slot: int) -> None:
        """There is no way in `slot`."""
        self._block.traps.ways[slot].open = 0

    def _place(self, cpu: Cpu) -> None:
        """Where the processor's state and its memory are."""
        block, view, ram = self._block, native_view(cpu), cpu.ram
        block.pae = cpu.geometry.pae
        block.words = _pointer(view.words, ctypes.c_uint32)
        block.reg_read = ctypes.cast(view.reg_read, REGISTER_FUNCTION)
        block.reg_write = ctypes.cast(view.reg_write, REGISTER_FUNCTION)
        block.eflags_register = view.eflags_register
        block.ram, block.ram_size = _pointer(ram.host_address, ctypes.c_uint8), ram.size
        block.code_map = self._numbers(ram.code_map, ctypes.c_uint8)
        block.traps.hooked_map = _pointer(view.hooked_map, ctypes.c_uint8)
        for name, *_ in Layout._fields_:
            setattr(block.layout, name, getattr(view, name))

    def _share(self, platform: Platform, memory: Owner, state: TrapState, time: VcpuTime) -> None:
        """The numbers that others own."""
        block = self._block
        block.attention = self._cell(state.cpu.attention)
        block.backends_due = self._cell(platform.bus.cell)
        block.hypercalls_traced = self._cell(platform.trace.cell)
        block.counts = self._cell(platform.counts)
        block.deadline = self._cell(platform.timers.cell)
        block.vcpu_info = self._cell(state.info.cell)
        block.vm_assist = self._cell(memory.assists)
        block.latches = self._cell(state.ports.cell)
        traps = block.traps
        traps.gates = self._cell(state.table.cell, Numbers)
        traps.events = self._cell(state.callbacks.cell, Numbers)
        traps.registers = self._cell(state.cell)
        traps.counters = self._cell(state.counters.cell)
        traps.reads = self._cell(time.cell)

    def _share_events(self, events: EventChannels, vcpu_id: int) -> None:
        """Where they are."""
        told = self._block.events
        told.shared_info = self._cell(events.two_level_at)
        told.polling = self._cell(events.polling)
        told.ipis = self._numbers(events.ipis, ctypes.c_int16)
        told.vcpu = vcpu_id

    def _share_leaves(self, policy: CpuidPolicy) -> None:
        """What CPUID answers."""
        leaves = [Leaf(leaf, 0, 0, answer) for leaf, answer in policy.leaves.items()]
        leaves += [Leaf(leaf, 1, subleaf, answer) for (leaf, subleaf), answer in policy.subleaves.items()]
        if len(leaves) > MOST_LEAVES:
            raise ValueError(f"there is room for {MOST_LEAVES} leaves of CPUID, not for {len(leaves)}")
        told = self._block.cpuid
        told.leaves[: len(leaves)] = leaves
        told.nr_leaves = len(leaves)

    def _share_memory(self, platform: Platform, memory: Owner, cpu: Cpu) -> None:
        """The rules for page tables, and the frame table."""
        told, space, types = self._block.memory, memory.space, platform.memory.types
        frames = types.frames
        told.domid, told.lone, told.hole = memory.domid, memory.max_vcpus == 1, space.hole
        told.states, told.max_vcpus = self._numbers(memory.states, ctypes.c_uint64), memory.max_vcpus
        told.entry_shift, told.root_type = space.entry_shift, space.root
        told.cr3 = self._cell(cpu.cr3_cell)
        told.refused, told.dropped, told.unchecked = space.refused[L1], space.dropped, space.unchecked
        told.address_mask, told.nr_frames = space.geometry.address_mask, frames.nr_frames
        told.owner = self._numbers(frames.owner, ctypes.c_uint16)
        told.type = self._numbers(frames.type, ctypes.c_uint8)
        told.type_count = self._numbers(frames.type_count, ctypes.c_uint32)
        told.count = self._numbers(frames.count, ctypes.c_uint32)
        told.flags = self._numbers(frames.flags, ctypes.c_uint8)
        told.linear = self._numbers(frames.linear, ctypes.c_int16)
        told.types_observed = self._cell(types.observed)
        told.flush_count = self._cell(cpu.flush_count)
        found = native_view(cpu).flushes
        if found is not None:
            told.processor = found.processor
            told.flush_tlb = ctypes.cast(found.whole, FLUSH)
            told.flush_page = ctypes.cast(found.page, FLUSH_PAGE)

    def _numbers(self, numbers: array[int] | bytearray, kind: Any) -> Any:
        """An array by address. It cannot be resized as long as the block is there."""
        shared = (kind * len(numbers)).from_buffer(numbers)
        self._kept.append(shared)
        return ctypes.cast(shared, ctypes.POINTER(kind))

    def _cell(self, numbers: array[int], kind: Any = Cell) -> Any:
        self._kept.append(numbers)
        return ctypes.cast(numbers.buffer_info()[0], kind)


def _pointer(address: int, kind: Any) -> Any:
    return ctypes.cast(address, ctypes.POINTER(kind))
