"""What Python tells the C code of one vcpu: the one declaration of it.

`paravane.gateway.header` makes `gateway_structs.h` of these classes. Arrays of numbers that an owner keeps
("cells") come in as pointers: there is one copy of each, which both languages read and write.
"""

from __future__ import annotations

import ctypes
from typing import Final

from paravane.traps.entries import MAX_ENTRIES

Cell = ctypes.POINTER(ctypes.c_int64)
Numbers = ctypes.POINTER(ctypes.c_uint64)

TRAP_HOOK: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)
"""The engine's interrupt hook: engine, vector, what it was installed with."""

INVALID_HOOK: Final = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)
"""Its hook of invalid opcodes: engine, what it was installed with. Whether the guest goes on."""

CPUID_HOOK: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
"""Its hook of CPUID, likewise. 1: it has answered."""

IN_HOOK: Final = ctypes.CFUNCTYPE(
    ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p
)
"""Its hook of instructions that read a port: engine, port, bytes, what it was installed with. Gives the
value."""

OUT_HOOK: Final = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p
)
"""The same of those that write to one, with the value before what it was installed with."""

REGISTER_FUNCTION: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
"""The engine's uc_reg_read and uc_reg_write."""

OWN_FILL: Final = ctypes.CFUNCTYPE(
    ctypes.c_bool,
    ctypes.c_void_p,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_bool,
    ctypes.c_uint64,
)
"""The engine's own TLB fill: processor, linear address, size, access, index of the TLB, whether it only
probes, and where in the host's code it is called from."""

SET_PAGE: Final = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int, ctypes.c_int, ctypes.c_uint64
)
"""Processor, linear and machine address of a page, rights, index of the TLB, size in bytes."""

FLUSH: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
"""The engine's tlb_flush: its processor."""

FLUSH_PAGE: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64)
"""The engine's tlb_flush_page: its processor, and a linear address in the page."""

MOST_WATCHES: Final = 4
"""Two descriptors, and the page-table entries that map them."""

MOST_ANSWERS: Final = 8
MOST_LEAVES: Final = 24
DATA_SEGMENTS: Final = 4
STORES: Final = 8
"""Selector, base, limit and flags of CS, then of SS."""


class Python(ctypes.Structure):
    """Python's hooks (`paravane.cpu.trap_entry.EntryHooks`), for what is not served here."""

    _fields_ = (
        ("trap", TRAP_HOOK),
        ("invalid", INVALID_HOOK),
        ("cpuid", CPUID_HOOK),
        ("port_in", IN_HOOK),
        ("port_out", OUT_HOOK),
    )


class Layout(ctypes.Structure):
    """Where in the processor's state its parts are, counted in 32-bit words; and masks of its cached flags
    (`paravane.cpu.native_view`)."""

    _fields_ = (
        ("regs", ctypes.c_uint32),
        ("reg_stride", ctypes.c_uint32),
        ("eax", ctypes.c_uint32),
        ("ecx", ctypes.c_uint32),
        ("edx", ctypes.c_uint32),
        ("ebx", ctypes.c_uint32),
        ("esp", ctypes.c_uint32),
        ("ebp", ctypes.c_uint32),
        ("esi", ctypes.c_uint32),
        ("edi", ctypes.c_uint32),
        ("eip", ctypes.c_uint32),
        ("eflags", ctypes.c_uint32),
        ("hflags", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cr0", ctypes.c_uint32),
        ("cr2", ctypes.c_uint32),
        ("cr3", ctypes.c_uint32),
        ("error_code", ctypes.c_uint32),
        ("is_int", ctypes.c_uint32),
        ("in_flight", ctypes.c_uint32),
        ("cs", ctypes.c_uint32),
        ("cs_base", ctypes.c_uint32),
        ("cs_limit", ctypes.c_uint32),
        ("ss", ctypes.c_uint32),
        ("data_selector", ctypes.c_uint32 * DATA_SEGMENTS),
        ("data_base", ctypes.c_uint32 * DATA_SEGMENTS),
        ("data_limit", ctypes.c_uint32 * DATA_SEGMENTS),
        ("data_flags", ctypes.c_uint32 * DATA_SEGMENTS),
        ("addseg", ctypes.c_uint32),
        ("cs32", ctypes.c_uint32),
        ("inhibit", ctypes.c_uint32),
        ("task_switched", ctypes.c_uint32),
    )


class Watch(ctypes.Structure):
    """`size` (4 or 8) bytes at a machine address, and what they were when a way was worked out."""

    _fields_ = (("maddr", ctypes.c_uint64), ("value", ctypes.c_uint64), ("size", ctypes.c_uint64))


class Way(ctypes.Structure):
    """A way into the guest that was worked out (`paravane.cpu.entry.PreparedEntry`), by its segments."""

    _fields_ = (
        ("open", ctypes.c_uint32),
        ("cs", ctypes.c_uint32),
        ("ss", ctypes.c_uint32),
        ("ring", ctypes.c_uint32),
        ("stack_base", ctypes.c_uint32),
        ("code_limit", ctypes.c_uint32),
        ("hflags_keep", ctypes.c_uint32),
        ("hflags_set", ctypes.c_uint32),
        ("store_at", ctypes.c_uint32 * STORES),
        ("store_value", ctypes.c_uint32 * STORES),
        ("nr_watches", ctypes.c_uint64),
        ("watches", Watch * MOST_WATCHES),
    )


class Traps(ctypes.Structure):
    """What the guest registered (`paravane.traps`): `gates` of its trap table and its callback for `events`,
    as numbers; its kernel stack and virtual registers (`registers`), how often each way was taken
    (`counters`), how it has been reading the clock (`reads`), where instructions have hooks, and the ways
    into it."""

    _fields_ = (
        ("gates", Numbers),
        ("events", Numbers),
        ("registers", Cell),
        ("counters", Cell),
        ("reads", Cell),
        ("hooked_map", ctypes.POINTER(ctypes.c_uint8)),
        ("ways", Way * MAX_ENTRIES),
    )


class Answer(ctypes.Structure):
    """A hypercall whose answer is always the same: EAX and EBX that ask for it, and EAX afterwards."""

    _fields_ = (("number", ctypes.c_uint32), ("command", ctypes.c_uint32), ("result", ctypes.c_uint32))


class Leaf(ctypes.Structure):
    """EAX, EBX, ECX and EDX that CPUID answers for a leaf (`paravane.traps.emulate.cpuid`); `by_subleaf`: for
    one of its subleaves alone."""

    _fields_ = (
        ("leaf", ctypes.c_uint32),
        ("by_subleaf", ctypes.c_uint32),
        ("subleaf", ctypes.c_uint32),
        ("answer", ctypes.c_uint32 * 4),
    )


class Cpuid(ctypes.Structure):
    """Every leaf that is not all zeroes."""

    _fields_ = (("nr_leaves", ctypes.c_uint32), ("leaves", Leaf * MOST_LEAVES))


class Events(ctypes.Structure):
    """Event channels of the domain, by two levels (`paravane.events`): the machine address of shared_info,
    how many vcpus poll, and the vcpu that each IPI interrupts; and this vcpu's number."""

    _fields_ = (
        ("shared_info", Cell),
        ("polling", Cell),
        ("ipis", ctypes.POINTER(ctypes.c_int16)),
        ("vcpu", ctypes.c_int),
    )


class Memory(ctypes.Structure):
    """The rules of a domain's page tables (`paravane.memory`), and the frame table by address.

    `lone`: the domain has, and can have, no other vcpu; where the processors of all `max_vcpus` have their
    `states` is `paravane.memory.owner.Owner.states`. `installed` and `cr3` are what this one has its
    processor use (`paravane.memory.owner.Installed`, `paravane.cpu.paging`). `begun` takes what was done of
    a list of hypercalls (`paravane.preemption`), items and units. The functions flush the TLB of
    `processor`, all of it or one page; without them, whatever flushes is left to Python.
    """

    _fields_ = (
        ("domid", ctypes.c_uint32),
        ("lone", ctypes.c_uint32),
        ("max_vcpus", ctypes.c_uint32),
        ("hole", ctypes.c_uint32),
        ("entry_shift", ctypes.c_uint32),
        ("root_type", ctypes.c_uint32),
        ("refused", ctypes.c_uint64),
        ("dropped", ctypes.c_uint64),
        ("unchecked", ctypes.c_uint64),
        ("address_mask", ctypes.c_uint64),
        ("nr_frames", ctypes.c_uint64),
        ("owner", ctypes.POINTER(ctypes.c_uint16)),
        ("type", ctypes.POINTER(ctypes.c_uint8)),
        ("type_count", ctypes.POINTER(ctypes.c_uint32)),
        ("count", ctypes.POINTER(ctypes.c_uint32)),
        ("flags", ctypes.POINTER(ctypes.c_uint8)),
        ("linear", ctypes.POINTER(ctypes.c_int16)),
        ("states", Numbers),
        ("installed", Cell),
        ("cr3", Cell),
        ("types_observed", Cell),
        ("begun", Cell),
        ("flush_count", Cell),
        ("processor", ctypes.c_void_p),
        ("flush_tlb", FLUSH),
        ("flush_page", FLUSH_PAGE),
    )


class Block(ctypes.Structure):
    """All of one vcpu. `clock` is null where the host's monotonic clock is the time, which was `clock_start`
    at system time 0. `latches` are those of the domain's I/O ports (`paravane.traps.emulate.ports`). Nothing
    but `python` and `served` is looked at as long as `ready` is 0."""

    _fields_ = (
        ("python", Python),
        ("served", ctypes.c_uint64),
        ("ready", ctypes.c_uint32),
        ("pae", ctypes.c_uint32),
        ("reg_read", REGISTER_FUNCTION),
        ("reg_write", REGISTER_FUNCTION),
        ("eflags_register", ctypes.c_int),
        ("words", ctypes.POINTER(ctypes.c_uint32)),
        ("ram", ctypes.POINTER(ctypes.c_uint8)),
        ("ram_size", ctypes.c_uint64),
        ("code_map", ctypes.POINTER(ctypes.c_uint8)),
        ("attention", Cell),
        ("backends_due", Cell),
        ("hypercalls_traced", Cell),
        ("counts", Cell),
        ("deadline", Cell),
        ("clock", Cell),
        ("clock_start", ctypes.c_int64),
        ("vcpu_info", Cell),
        ("vm_assist", Cell),
        ("latches", Cell),
        ("layout", Layout),
        ("traps", Traps),
        ("memory", Memory),
        ("cpuid", Cpuid),
        ("events", Events),
        ("nr_answers", ctypes.c_uint32),
        ("answers", Answer * MOST_ANSWERS),
    )


class Tlb(ctypes.Structure):
    """What the TLB fill of one vcpu knows (tlb.c), whether or not traps are served. `code` has a byte for
    each frame of machine memory; `cr0`, `cr3` and `cr4` are places in `words`, the processor's state.
    `filled` counts translations, but for those that the engine made itself."""

    _fields_ = (
        ("own", OWN_FILL),
        ("set_page", SET_PAGE),
        ("flush", FLUSH),
        ("words", ctypes.POINTER(ctypes.c_uint32)),
        ("ram", ctypes.POINTER(ctypes.c_uint8)),
        ("ram_size", ctypes.c_uint64),
        ("code", ctypes.POINTER(ctypes.c_uint8)),
        ("filled", ctypes.c_uint64),
        ("cr0", ctypes.c_uint32),
        ("cr3", ctypes.c_uint32),
        ("cr4", ctypes.c_uint32),
    )


STRUCTURES: Final[tuple[type[ctypes.Structure], ...]] = (
    Python,
    Layout,
    Watch,
    Way,
    Traps,
    Answer,
    Leaf,
    Cpuid,
    Events,
    Memory,
    Block,
    Tlb,
)
"""Each after those it is made of."""
