"""What the engine itself does, one fact a test: a release that changes one must be noticed here."""

import ctypes
import mmap
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import Uc, UcError, uclib

from paravane.cpu.engine import context_offsets
from paravane.cpu.engine import library as api
from paravane.cpu.engine.context_offsets import SEGMENTS, context_layout
from paravane.cpu.engine.errors import EngineError
from paravane.cpu.engine.library import Engine, Mmr
from paravane.cpu.hooks import Hooks
from tests.support.cpu_bench import CODE, CODE_MFN, DATA, DATA_MFN, GDT_VA, KERNEL_DS, USER, Bench, Trap

SIZE, AT = 0x4000, 0x1000


class Bare:
    """An engine in ring 0 without paging, its traps written down."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, SIZE)
        self.engine = Engine()
        self.engine.map(0, SIZE, ctypes.addressof(ctypes.c_char.from_buffer(self.memory)))
        self.vectors: list[int] = []
        self.invalid = 0
        self.limit = 1
        self.engine.hook(uc_const.UC_HOOK_INTR, api.INTERRUPT_HOOK, self._on_trap)

    def _on_trap(self, _uc: int, vector: int, _user: int) -> None:
        self.vectors.append(vector)
        if len(self.vectors) >= self.limit:
            self.engine.stop()

    def run(self, code: bytes) -> None:
        self.memory[AT : AT + len(code)] = code
        self.engine.start(AT)

    def close(self) -> None:
        self.engine.close()
        self.memory.close()


def binding() -> Any:
    """An engine through the Python binding, as most programs use it."""
    make: Any = Uc
    return make(uc_const.UC_ARCH_X86, uc_const.UC_MODE_32)


@pytest.fixture
def bare() -> Iterator[Bare]:
    engine = Bare()
    yield engine
    engine.close()


def test_the_layout_is_found_and_names_every_part() -> None:
    layout = context_layout()
    assert set(layout.segments) == set(SEGMENTS)
    assert layout.reg_stride == 2
    assert layout.cpl_mask == 3
    masks = [layout.cs32, layout.ss32, layout.addseg, layout.io_break, layout.cpl_mask]
    assert (
        sum(mask.bit_count() for mask in masks) == (masks[0] | masks[1] | masks[2] | masks[3] | 3).bit_count()
    )
    assert context_layout() is layout


def test_an_unknown_engine_is_refused_in_one_sentence() -> None:
    for places in ([], [1, 2]):
        with pytest.raises(EngineError, match="cannot find CR2 .* unknown engine"):
            context_offsets._single("CR2", places)


def test_an_uncured_second_fault_arrives_as_a_double_fault(bare: Bare) -> None:
    bare.limit = 2
    # mov $0x1234,%ax ; mov %ax,%ds: #GP, and again since nobody moved EIP
    bare.run(b"\x66\xb8\x34\x12\x8e\xd8")
    assert bare.vectors == [13, 8]


def test_writing_cs_or_ss_through_the_api_cannot_change_the_ring(bare: Bare) -> None:
    table = struct.pack("<3Q", 0, 0x00CFBB000000FFFF, 0x00CFB3000000FFFF)
    bare.memory[: len(table)] = table
    bare.engine.write_structure(x86.UC_X86_REG_GDTR, Mmr(base=0, limit=len(table) - 1))
    bare.engine.write_register(x86.UC_X86_REG_CS, 0x09)
    with pytest.raises(EngineError, match="write a register"):
        bare.engine.write_register(x86.UC_X86_REG_SS, 0x11)
    bare.engine.save()
    assert bare.engine.words[context_layout().hflags] & 3 == 0


def test_ud2_is_not_a_vector(bare: Bare) -> None:
    with pytest.raises(EngineError, match="Invalid instruction"):
        bare.run(b"\x0f\x0b")
    assert bare.vectors == []


@pytest.mark.parametrize(
    "code", [b"\xec", b"\xee", b"\x0f\x05", b"\x0f\x34"], ids=["in", "out", "syscall", "sysenter"]
)
def test_without_hooks_these_instructions_are_skipped(bare: Bare, code: bytes) -> None:
    bare.run(code + b"\xcd\x20")
    assert bare.vectors == [0x20]


def test_the_interrupt_table_is_never_consulted(bare: Bare) -> None:
    bare.engine.write_register(x86.UC_X86_REG_ESP, 0x3000)
    bare.run(b"\xcd\x20")
    assert bare.vectors == [0x20]
    assert bare.engine.read_register(x86.UC_X86_REG_ESP) == 0x3000


def test_code_edits_by_the_host_stay_unseen(bare: Bare) -> None:
    bare.run(b"\xb8\x01\x00\x00\x00\xcd\x20")
    bare.run(b"\xb8\x02\x00\x00\x00\xcd\x20")
    assert bare.engine.read_register(x86.UC_X86_REG_EAX) == 1
    bare.engine.remove_code(AT, 16)
    bare.engine.start(AT)
    assert bare.engine.read_register(x86.UC_X86_REG_EAX) == 2


def test_late_hooks_do_not_reach_translated_blocks(bare: Bare) -> None:
    seen: list[int] = []
    bare.run(b"\x40\xcd\x20")
    bare.engine.hook(
        uc_const.UC_HOOK_CODE, api.CODE_HOOK, lambda uc, address, size, user: seen.append(address)
    )
    bare.engine.start(AT)
    assert seen == []
    bare.engine.flush_code()
    bare.engine.start(AT)
    assert seen == [AT, AT + 1]


def test_code_edits_through_the_engine_stay_unseen_too(bare: Bare) -> None:
    bare.run(b"\xb8\x01\x00\x00\x00\xcd\x20")
    code = b"\xb8\x02\x00\x00\x00"
    api.check(uclib.uc_mem_write(bare.engine.handle, ctypes.c_uint64(AT), code, ctypes.c_size_t(5)), "write")
    assert bare.memory[AT : AT + 5] == code
    bare.engine.start(AT)
    assert bare.engine.read_register(x86.UC_X86_REG_EAX) == 1


def test_reaching_the_end_address_is_a_clean_stop() -> None:
    """Without the exits that `Engine` switches on: nothing tells such a stop from one that was asked for."""
    uc = binding()
    uc.mem_map(0, 0x4000)
    uc.mem_write(AT, b"\x40\x40\x40")
    uc.emu_start(AT, AT + 2)
    assert (uc.reg_read(x86.UC_X86_REG_EAX), uc.reg_read(x86.UC_X86_REG_EIP)) == (2, AT + 2)


def test_a_nested_run_leaves_its_own_end_behind() -> None:
    """The outer run goes on where the inner one ended, and not where it was interrupted."""
    uc = binding()
    uc.mem_map(0, 0x4000)
    uc.mem_write(AT, b"\xcd\x20\x43\x43\xf4")
    uc.mem_write(AT + 0x100, b"\x40\x40\x41\x41\xf4")
    uc.hook_add(uc_const.UC_HOOK_INTR, lambda uc, vector, user: uc.emu_start(AT + 0x100, AT + 0x102))
    uc.emu_start(AT, AT + 4)
    registers = (x86.UC_X86_REG_EAX, x86.UC_X86_REG_EBX, x86.UC_X86_REG_ECX)
    assert [uc.reg_read(number) for number in registers] == [2, 0, 2]


def test_the_python_binding_refuses_a_hook_on_rdtsc() -> None:
    uc = binding()
    with pytest.raises(UcError):
        uc.hook_add(uc_const.UC_HOOK_INSN, lambda uc, user: 1, None, 1, 0, x86.UC_X86_INS_RDTSC)


def test_a_restored_state_does_not_flush_the_tlb(bench: Bench) -> None:
    """Other page tables put in by state alone: the old translation is still used. The jump makes two blocks
    of what comes before: the engine tells of the second, for which `paravane.cpu.code` flushes."""
    load = b"\xa1" + struct.pack("<I", DATA)
    bench.ram.write(DATA, b"old!")

    def swap(trap: Trap) -> None:
        if trap.vector == 0x82:
            bench.cpu._words[bench.cpu._layout.cr3] = 0x3F000
            bench.cpu._dirty = True
        else:
            bench.cpu.stop()

    bench.handler.on_trap = swap
    assert bench.run(b"\xeb\x00" + load + b"\xcd\x82" + load + b"\xcd\x20")[-1].vector == 0x20
    assert bench.cpu.eax == int.from_bytes(b"old!", "little")


def test_arithmetic_flags_are_not_where_the_other_flags_are(bench: Bench) -> None:
    """In a hook, EFLAGS of the saved state holds old arithmetic flags; the API computes them."""
    words, layout = bench.cpu._words, bench.cpu._layout
    bench.cpu.eflags = 0x200203
    bench.run(b"\x40\xcd\x20")
    where = [index for index, word in enumerate(words) if word & ~0x8D5 == 0x200202 and index != layout.flags]
    seen: list[tuple[int, list[int]]] = []

    def look(trap: Trap) -> None:
        seen.append((bench.cpu.eflags & 0x8D5, [words[index] & 0x8D5 for index in where]))
        bench.cpu.stop()

    bench.handler.on_trap = look
    bench.kernel(eflags=0x200202)
    # mov $0xf0000000,%eax; add %eax,%eax; int $0x20: CF, PF and SF
    bench.run(b"\xb8\x00\x00\x00\xf0\x01\xc0\xcd\x20")
    ((flags, kept),) = seen
    assert flags == 0x85
    assert kept
    assert 0x85 not in kept


def test_a_fault_after_a_code_hook_computes_other_flags(bare: Bare) -> None:
    """`Hooks._restore_flags` exists for this."""
    # mov $0xf0000000,%eax; add %eax,%eax; divl 0x3000 (a zero)
    code = b"\xb8\x00\x00\x00\xf0\x01\xc0\xf7\x35\x00\x30\x00\x00"
    bare.run(code)
    assert bare.engine.read_register(x86.UC_X86_REG_EFLAGS) & 0x8D5 == 0x85
    bare.engine.hook(uc_const.UC_HOOK_CODE, api.CODE_HOOK, lambda uc, address, size, user: None)
    bare.engine.flush_code()
    bare.engine.write_register(x86.UC_X86_REG_EFLAGS, 2)
    bare.run(code)
    assert bare.vectors[0] == 0
    assert bare.engine.read_register(x86.UC_X86_REG_EFLAGS) & 0x8D5 != 0x85


def test_cmpxchg8b_takes_the_other_flags_from_an_older_result(bare: Bare) -> None:
    """Hardware changes ZF alone. Nothing here cures it: compilers and kernels look at ZF only."""
    # mov $0xf0000000,%eax; add %eax,%eax; cmpxchg8b 0x3000; int $0x20
    bare.run(b"\xb8\x00\x00\x00\xf0\x01\xc0\x0f\xc7\x0d\x00\x30\x00\x00\xcd\x20")
    assert bare.engine.read_register(x86.UC_X86_REG_EFLAGS) & 0x8D5 != 0x85


def test_loopne_that_has_counted_down_leaves_other_flags(bare: Bare) -> None:
    """Hardware leaves them, and so does LOOPE. Nothing here cures it."""
    # mov $1,%ecx; mov $0xd4,%al; cmp $0x7f,%al; loopne .+2; int $0x20
    bare.run(b"\xb9\x01\x00\x00\x00\xb0\xd4\x3c\x7f\xe0\x00\xcd\x20")
    assert bare.engine.read_register(x86.UC_X86_REG_EFLAGS) & 0x8D5 != 0x814


def test_setcc_whose_store_faults_leaves_other_flags(bench: Bench) -> None:
    """Where the condition takes more than one look at the last result. Nothing here cures it."""
    bench.map(DATA, 0, 0)
    bench.cpu.flush_tlb()
    # mov $0x70000000,%eax; add %eax,%eax; setl DATA
    code = b"\xb8\x00\x00\x00\x70\x01\xc0\x0f\x9c\x05" + struct.pack("<I", DATA)
    assert [trap.vector for trap in bench.run(code)] == [14]
    assert bench.cpu.eflags & 0x8D5 != 0x884


def test_a_block_that_runs_into_an_unmapped_page_faults_before_its_first_instruction(bench: Bench) -> None:
    bench.map(DATA, 0, 0)
    bench.cpu.flush_tlb()
    bench.kernel(DATA - 2)
    assert bench.run(b"\x40\x40", DATA - 2) == [Trap("exception", 14, 0x10, DATA - 2, 1)]
    assert (bench.cpu.eax, bench.cpu.cr2) == (0, DATA)


def test_reading_a_frame_outside_memory_is_an_error_of_the_run(bare: Bare) -> None:
    with pytest.raises(EngineError, match="refused to run"):
        bare.run(b"\xa1" + struct.pack("<I", 0x7F000000))


def test_segment_limits_are_not_enforced(bench: Bench) -> None:
    bench.cpu.load_segment("gs", 0x59)  # 16 bytes from 0x2340
    assert bench.run(b"\x65\xa1" + struct.pack("<I", DATA - 0x2340) + b"\xcd\x20")[0].vector == 0x20


def test_null_data_segments_are_not_refused(bench: Bench) -> None:
    bench.cpu.load_segment("ds", 0)
    assert bench.run(b"\xa1" + struct.pack("<I", DATA) + b"\xcd\x20")[0].vector == 0x20


def test_ring_1_is_supervisor_to_paging(bench: Bench) -> None:
    bench.map(DATA, DATA_MFN, 3)
    assert bench.run(b"\xa1" + struct.pack("<I", DATA) + b"\xcd\x20")[0].vector == 0x20


def test_a_native_segment_load_writes_the_accessed_bit_and_faults_where_it_cannot(bench: Bench) -> None:
    load = b"\x66\xb8\x59\x00\x8e\xe8\xcd\x20"
    bench.map(GDT_VA, 0x1F, 1)
    bench.cpu.flush_tlb()
    trap = bench.run(load)[0]
    assert (trap.vector, bench.cpu.cr2 & ~7) == (14, GDT_VA + 11 * 8)
    bench.map(GDT_VA, 0x1F, 3)
    bench.cpu.flush_tlb()
    bench.kernel()
    assert bench.run()[0].vector == 0x20
    assert bench.cpu.read(GDT_VA + 11 * 8 + 5, 1)[0] & 1


def test_page_table_edits_stay_unseen_without_a_flush(bench: Bench) -> None:
    load = b"\xa1" + struct.pack("<I", DATA)

    def unmap(trap: Trap) -> None:
        if trap.vector == 0x82:
            bench.map(DATA, 0, 0)
        else:
            bench.cpu.stop()

    bench.handler.on_trap = unmap
    assert bench.run(load + b"\xcd\x82" + load + b"\xcd\x20")[-1].vector == 0x20


def test_a_guests_own_store_into_its_code_is_seen(bench: Bench) -> None:
    # movb $7, immediate of the next instruction ; mov $1,%eax ; int $0x20
    store = b"\xc6\x05" + struct.pack("<I", CODE + 8) + b"\x07"
    bench.run(store + b"\xb8\x01\x00\x00\x00\xcd\x20")
    assert bench.cpu.eax == 7


def test_alignment_checks_are_never_made(bench: Bench) -> None:
    bench.cpu.cr0 |= 1 << 18
    bench.user(eflags=0x40202)
    assert bench.run(b"\xa1" + struct.pack("<I", USER + 0x801) + b"\xcd\x20", at=USER)[0].vector == 0x20


def test_unmasked_sse_exceptions_are_never_raised(bench: Bench) -> None:
    bench.ram.write(DATA, struct.pack("<I", 0x1D80))
    # ldmxcsr (divide-by-zero unmasked); 1.0 / 0.0
    bench.ram.write(DATA + 4, struct.pack("<f", 1.0))
    code = b"\x0f\xae\x15" + struct.pack("<I", DATA) + b"\x0f\x57\xc0"
    code += b"\xf3\x0f\x10\x0d" + struct.pack("<I", DATA + 4) + b"\xf3\x0f\x5e\xc8\xcd\x20"
    assert bench.run(code)[0].vector == 0x20


def test_a_string_input_has_zeroed_its_destination_before_it_faults(bench: Bench) -> None:
    bench.ram.write(DATA, b"\xff\xff")
    bench.cpu.edi = DATA
    assert bench.run(b"\x6c")[0].vector == 13
    assert bench.ram.read(DATA, 2) == b"\x00\xff"


def test_iret_accepts_the_vm_flag_but_only_towards_ring_3(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hardware ignores VM outside ring 0; the engine enters virtual-8086 mode, which is ring 3 to paging."""
    found: list[tuple[bool, int, int]] = []

    def look(hooks: Hooks) -> None:
        found.append((hooks._irets.in_virtual_8086, bench.cpu.cpl, bench.cpu.eip))
        raise EngineError("seen")

    monkeypatch.setattr(Hooks, "_leave_virtual_8086", look)
    bench.map(0, CODE_MFN, 7)
    bench.ram.write((CODE_MFN << 12) + 0x40, b"\xcd\x21")
    values = (0, 0, 0, 0, 0, 0x800, 0x20202, 0, 0x40)
    frame = b"".join(b"\x68" + struct.pack("<I", value) for value in values)
    with pytest.raises(EngineError, match="seen"):
        bench.run(frame + b"\xcf")
    assert found == [(True, 3, 0x40)]


def test_a_ring_0_descriptor_is_loadable_only_where_its_privilege_allows(bench: Bench) -> None:
    assert bench.run(b"\x66\xb8\x40\x00\x8e\xd8\xcd\x20")[0].vector == 13
    assert bench.cpu.ds == KERNEL_DS
