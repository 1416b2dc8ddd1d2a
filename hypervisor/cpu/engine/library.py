"""The engine's C interface: handles, hooks, registers, contexts. Nothing here knows what a guest is."""

import ctypes
import mmap
import sys
from collections.abc import Callable
from typing import Any, Final

from paravane.classes import NamedTuple, dataclass
from paravane.cpu.engine import numbers
from paravane.cpu.engine.errors import EngineError
from paravane.cpu.engine.library_file import library_file

TRANSLATION_BUFFER = 16 << 20
"""Bytes of host memory that an engine keeps translated code in."""

HOST_MEMORY: Final = TRANSLATION_BUFFER + (24 << 20)
"""Bytes that the host must have free before there is another engine: what one takes until it first runs, and
as much again for whoever runs it."""

_NO_MEMORY: Final = "the host has no memory for another processor"

HookFunction = Callable[..., Any]
INTERRUPT_HOOK: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)
INVALID_HOOK: Final = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)
EDGE_HOOK: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
IN_HOOK: Final = ctypes.CFUNCTYPE(
    ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p
)
OUT_HOOK: Final = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p
)
SYSCALL_HOOK: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
CPUID_HOOK: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
MEMORY_HOOK: Final = ctypes.CFUNCTYPE(
    None,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_int64,
    ctypes.c_void_p,
)
CODE_HOOK: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)

# Short calls keep the interpreter lock (PyDLL): dropping and taking it again would cost more than they do.
# Only the run itself releases it, so that other threads can stop a spinning guest.
PATH: Final = library_file()
"""The library's file."""

_quick = ctypes.PyDLL(PATH)
_slow = ctypes.CDLL(PATH)

context_save = _quick.uc_context_save
context_restore = _quick.uc_context_restore
reg_read = _quick.uc_reg_read
reg_write = _quick.uc_reg_write
_reg_write_batch = _quick.uc_reg_write_batch
_ctl = _quick.uc_ctl
_hook_add = _quick.uc_hook_add
_hook_del = _quick.uc_hook_del
_emu_start = _slow.uc_emu_start
emu_stop = _quick.uc_emu_stop
# Not of the API, which can only forget all translations; not every build of the library exports it.
_flush_page = getattr(_quick, "tlb_flush_page_x86_64", None)
if _flush_page is not None:
    _flush_page.argtypes, _flush_page.restype = (ctypes.c_void_p, ctypes.c_uint64), None
_quick.uc_context_size.restype = ctypes.c_size_t
_quick.uc_strerror.restype = ctypes.c_char_p

# A function of the library that looks at one number and does nothing: hooks that need no answer call it.
NOTHING: Final = ctypes.cast(_quick.uc_arch_supported, ctypes.c_void_p)

GPRS: Final = (
    numbers.UC_X86_REG_EAX,
    numbers.UC_X86_REG_ECX,
    numbers.UC_X86_REG_EDX,
    numbers.UC_X86_REG_EBX,
    numbers.UC_X86_REG_ESP,
    numbers.UC_X86_REG_EBP,
    numbers.UC_X86_REG_ESI,
    numbers.UC_X86_REG_EDI,
)
INSTRUCTIONS: Final = {
    "in": numbers.UC_X86_INS_IN,
    "out": numbers.UC_X86_INS_OUT,
    "syscall": numbers.UC_X86_INS_SYSCALL,
    "sysenter": numbers.UC_X86_INS_SYSENTER,
    "cpuid": numbers.UC_X86_INS_CPUID,
}


class Mmr(ctypes.Structure):
    """A memory-management register as the engine's API passes it (uc_x86_mmr)."""

    _fields_ = (
        ("selector", ctypes.c_uint16),
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )


class Msr(ctypes.Structure):
    """A model-specific register as the engine's API passes it (uc_x86_msr)."""

    _fields_ = (("rid", ctypes.c_uint32), ("value", ctypes.c_uint64))


def check(status: int, what: str) -> None:
    """EngineError unless the engine answered UC_ERR_OK; MemoryError when it got no memory."""
    if status == numbers.UC_ERR_NOMEM:
        raise MemoryError(_NO_MEMORY)
    if status != numbers.UC_ERR_OK:
        reason = _quick.uc_strerror(status).decode()
        raise EngineError(f"the engine refused to {what}: {reason}")


def _check_host_memory() -> None:
    """MemoryError unless the host has memory for an engine. The library does not fail when it gets none: it
    ends the process."""
    try:
        mmap.mmap(-1, HOST_MEMORY, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as error:
        raise MemoryError(_NO_MEMORY) from error


def exports_page_flush() -> bool:
    """The library has a function that forgets one translation."""
    return _flush_page is not None


def _control(code: int, direction: int, nr_args: int) -> ctypes.c_int:
    return ctypes.c_int(code | nr_args << 26 | direction << 30)


_TLB_FLUSH = _control(numbers.UC_CTL_TLB_FLUSH, numbers.UC_CTL_IO_WRITE, 0)
_TB_FLUSH = _control(numbers.UC_CTL_TB_FLUSH, numbers.UC_CTL_IO_WRITE, 0)
_TB_REMOVE = _control(numbers.UC_CTL_TB_REMOVE_CACHE, numbers.UC_CTL_IO_WRITE, 2)
_BUFFER_SIZE = _control(numbers.UC_CTL_TCG_BUFFER_SIZE, numbers.UC_CTL_IO_WRITE, 1)
_TLB_TYPE = _control(numbers.UC_CTL_TLB_TYPE, numbers.UC_CTL_IO_WRITE, 1)
_USE_EXITS = _control(numbers.UC_CTL_UC_USE_EXITS, numbers.UC_CTL_IO_WRITE, 1)


class LiveState(NamedTuple):
    """Byte offsets: of a pointer in the engine's structure, from what it points to to the processor's state,
    and of that state in a context."""

    pointer: int
    state: int
    header: int


@dataclass(frozen=True, slots=True)
class Patient:
    """What survives an engine's death needs to know of it (`paravane.cpu.engine.guard`). Addresses are this
    process's."""

    cpu: int
    """The engine's processor object."""
    env: int
    """The processor's state in it, of which the general registers are the first part."""
    hflags: int
    """The word of cached flags in that state."""
    one_by_one: int
    """The bit in it with which the engine translates a single instruction."""
    is_undefined: Callable[[], bool]
    """Asked with EIP at an instruction that cannot be translated: is it one that raises #UD?"""


class Engine:
    """One engine instance in 32-bit mode, and its processor's state seen as words.

    `handle` and `context` are the C pointers, ready to be passed to the module's functions; `copy` is the
    context.
    """

    def __init__(self, place: LiveState | None = None) -> None:
        """With a `place` the state is seen there, without one through a context. Raises MemoryError when the
        host has no memory for it."""
        _check_host_memory()
        handle = ctypes.c_void_p()
        check(_quick.uc_open(numbers.UC_ARCH_X86, numbers.UC_MODE_32, ctypes.byref(handle)), "start")
        self.handle = handle
        self._hooks: dict[int, object] = {}
        self.patient: Patient | None = None
        self.death = ""
        """How the engine died in this run, when somebody survived it."""
        self._open = True
        self._scratch = ctypes.c_uint32()
        self._scratch_pointer = ctypes.byref(self._scratch)
        self.context = ctypes.c_void_p()
        self.place = place
        self.in_place = place is not None
        self.processor = 0
        """Address, in this process, of the object that the processor's state is a part of; 0 unless that is
        seen in place."""
        try:
            self._set_up()
        except BaseException:
            _quick.uc_close(handle)
            raise
        assert self.context.value is not None
        raw = (ctypes.c_char * self.context_size).from_address(self.context.value)
        self.copy = memoryview(raw).cast("B")
        if place is None:
            self.bytes_address = self.context.value
            self.bytes = self.copy[: self.context_size & ~7]
        else:
            size = self.context_size - place.header & ~7
            self.bytes_address = self.state_address(place)
            self.processor = self.bytes_address - place.state
            self.bytes = memoryview((ctypes.c_char * size).from_address(self.bytes_address)).cast("B")
        self.words = self.bytes.cast("I")

    def _set_up(self) -> None:
        # The default buffer is 1 GiB of address space and costs 15 ms an engine. The engine asks for huge
        # pages there: the kernel clears 2 MiB at once, which on a host short of them is most of the cost.
        check(_ctl(self.handle, _BUFFER_SIZE, ctypes.c_uint32(TRANSLATION_BUFFER)), "size its buffer")
        # With exit addresses enabled and none given no guest address ends a run by itself, and the end of a
        # run does not look one up in the guest's page tables (which would leave a stray CR2 behind).
        check(_ctl(self.handle, _USE_EXITS, ctypes.c_int(1)), "run without an end address")
        self.context_size = int(_quick.uc_context_size(self.handle))
        check(_quick.uc_context_alloc(self.handle, ctypes.byref(self.context)), "allocate a context")

    def state_address(self, place: LiveState) -> int:
        """Address, in this process, of the processor's state."""
        assert self.handle.value is not None
        pointer: int = ctypes.c_uint64.from_address(self.handle.value + place.pointer).value
        return pointer + place.state

    @property
    def flushes_pages(self) -> bool:
        """A translation can be forgotten alone."""
        return self.in_place and exports_page_flush()

    def structure(self) -> bytes:
        """The engine's own structure, for those who look for something in it."""
        assert self.handle.value is not None
        name = "malloc_size" if sys.platform == "darwin" else "malloc_usable_size"
        measure = getattr(ctypes.CDLL(None), name, None)
        if measure is None:
            raise EngineError(f"this C library has no {name}; the engine cannot be examined")
        measure.restype = ctypes.c_size_t
        return ctypes.string_at(self.handle.value, int(measure(self.handle)))

    def past_state(self) -> bytes:
        """The processor's state and what comes after it in the object that it is a part of. The state must be
        seen in place."""
        assert self.place is not None
        # The C library keeps the size of what it allocates, with three flag bits, in the word before: by that
        # the object was told (`live.py`).
        word = ctypes.sizeof(ctypes.c_size_t)
        size: int = ctypes.c_size_t.from_address(self.processor - word).value & ~7
        return ctypes.string_at(self.bytes_address, size - word - self.place.state)

    def fill_tlb_by_hook(self, on: bool) -> None:
        """Whether translations come from a hook (UC_HOOK_TLB_FILL), or from page tables."""
        kind = numbers.UC_TLB_VIRTUAL if on else numbers.UC_TLB_CPU
        check(_ctl(self.handle, _TLB_TYPE, ctypes.c_int(kind)), "fill its TLB otherwise")

    def poke(self, offset: int, value: int) -> None:
        """Store a byte in the engine's own structure (see `paravane.cpu.engine.stops`)."""
        assert self.handle.value is not None
        ctypes.c_uint8.from_address(self.handle.value + offset).value = value

    @property
    def is_open(self) -> bool:
        """Not closed yet."""
        return self._open

    def map(self, maddr: int, size: int, host_address: int, *, writable: bool = True) -> None:
        """Back machine addresses from `maddr` with `size` bytes of host memory."""
        status = _quick.uc_mem_map_ptr(
            self.handle,
            ctypes.c_uint64(maddr),
            ctypes.c_size_t(size),
            ctypes.c_uint32(numbers.UC_PROT_ALL if writable else numbers.UC_PROT_READ | numbers.UC_PROT_EXEC),
            ctypes.c_void_p(host_address),
        )
        check(status, "map machine memory")

    def hook(
        self,
        kind: int,
        prototype: Any,
        function: HookFunction,
        *extra: ctypes.c_int,
        begin: int = 1,
        end: int = 0,
    ) -> None:
        """Install a raw hook over `begin`-`end` (default: everywhere), before what it hooks is translated."""
        self.add_hook(kind, prototype(function), *extra, begin=begin, end=end)

    def add_hook(
        self, kind: int, callback: Any, *extra: ctypes.c_int, begin: int = 1, end: int = 0, user: int = 0
    ) -> int:
        """As `hook`, for a C function that is called with `user`; what `remove_hook` takes."""
        handle = ctypes.c_size_t()
        status = _hook_add(
            self.handle,
            ctypes.byref(handle),
            ctypes.c_int(kind),
            callback,
            ctypes.c_void_p(user),
            ctypes.c_uint64(begin),
            ctypes.c_uint64(end),
            *extra,
        )
        check(status, "install a hook")
        self._hooks[handle.value] = callback
        return handle.value

    def hook_interrupts(self, callback: Any) -> int:
        """`add_hook` for every exception and `int n`: a C function with the signature of INTERRUPT_HOOK."""
        return self.add_hook(numbers.UC_HOOK_INTR, callback)

    def remove_hook(self, hook: int) -> None:
        """Uninstall a hook. It is not called any more, but leaves its list when the next run ends."""
        check(_hook_del(self.handle, ctypes.c_size_t(hook)), "remove a hook")
        del self._hooks[hook]

    def hook_instruction(self, name: str, callback: Any, *, user: int = 0) -> None:
        """Install a hook on one of the instructions in `INSTRUCTIONS`: a C function of the signature of its
        kind, which is called with `user`."""
        self.add_hook(numbers.UC_HOOK_INSN, callback, ctypes.c_int(INSTRUCTIONS[name]), user=user)

    def save(self) -> None:
        """Make `bytes` and `words` the processor's state as it is now."""
        if not self.in_place:
            context_save(self.handle, self.context)

    def restore(self) -> None:
        """Make the processor's state what `bytes` and `words` are. Flushes nothing."""
        if not self.in_place:
            context_restore(self.handle, self.context)

    def read_register(self, number: int) -> int:
        """A 32-bit register through the API."""
        status = reg_read(self.handle, number, self._scratch_pointer)
        if status:
            check(status, "read a register")
        value: int = self._scratch.value
        return value

    def write_register(self, number: int, value: int) -> None:
        """A 32-bit register through the API. Never EIP (it would end the run), CS or SS (no ring change)."""
        self._scratch.value = value
        status = reg_write(self.handle, number, self._scratch_pointer)
        if status:
            check(status, "write a register")

    def read_bytes(self, number: int, size: int) -> bytes:
        """A register of `size` bytes through the API."""
        # The API writes whole words; leave it room.
        buffer = ctypes.create_string_buffer(size + 8)
        check(reg_read(self.handle, ctypes.c_int(number), buffer), "read a register")
        return buffer.raw[:size]

    def write_bytes(self, number: int, value: bytes) -> None:
        """A register given by its bytes, through the API."""
        buffer = ctypes.create_string_buffer(value, len(value) + 8)
        check(reg_write(self.handle, ctypes.c_int(number), buffer), "write a register")

    def write_structure(self, number: int, value: ctypes.Structure) -> None:
        """A register whose API value is a structure."""
        check(reg_write(self.handle, ctypes.c_int(number), ctypes.byref(value)), "write a register")

    def leave_block(self, eip: int) -> None:
        """From a code hook: go on at `eip` once this block is over.

        The call for a single register would also keep every later hook of the run from seeing its own EIP.
        """
        value = ctypes.c_uint64(eip)
        registers = (ctypes.c_int * 1)(numbers.UC_X86_REG_EIP)
        values = (ctypes.c_void_p * 1)(ctypes.addressof(value))
        check(_reg_write_batch(self.handle, registers, values, ctypes.c_int(1)), "leave a block")

    def flush_tlb(self) -> None:
        """Forget every cached translation of linear addresses."""
        _ctl(self.handle, _TLB_FLUSH)

    def flush_page(self, va: int) -> None:
        """Forget the cached translation of linear `va`, or all of them where it cannot be told alone."""
        if self.in_place and _flush_page is not None:
            _flush_page(self.processor, va)
        else:
            self.flush_tlb()

    def flush_code(self) -> None:
        """Forget every translated block."""
        _ctl(self.handle, _TB_FLUSH)

    def remove_code(self, address: int, size: int) -> None:
        """Forget the blocks made from `size` bytes of code at *linear* `address` (as mapped now)."""
        _ctl(self.handle, _TB_REMOVE, ctypes.c_uint64(address), ctypes.c_uint64(address + size))

    def start(self, eip: int, count: int = 0) -> None:
        """Run from `eip` until something stops it, or for `count` instructions. EngineError if it fails."""
        self.death = ""
        status = _emu_start(
            self.handle,
            ctypes.c_uint64(eip),
            ctypes.c_uint64(0),
            ctypes.c_uint64(0),
            ctypes.c_size_t(count),
        )
        if self.death:
            raise EngineError(self.death)
        check(status, "run")

    def stop(self) -> None:
        """End the run at the next block. Callable from any thread."""
        emu_stop(self.handle)

    def close(self) -> None:
        """Free the engine. Idempotent."""
        if not self._open:
            return
        self._open = False
        self.words.release()
        self.bytes.release()
        self.copy.release()
        _quick.uc_context_free(self.context)
        check(_quick.uc_close(self.handle), "close")
        self._hooks.clear()
