"""The first instructions of a kernel run on what the builder made: mapping, stack, segments, page tables."""

import pytest

from paravane.abi.elfnote import ElfNote
from paravane.abi.hypercall import HYPERCALL_VECTOR, Hypercall
from paravane.builder import StartOfDay, build_domain
from paravane.cpu import Cpu, Ram
from paravane.image import Image, load_image
from paravane.memory import VcpuPaging, audit
from tests.support.elfwriter import PAGE, ElfImage, ElfSegment, xen_notes
from tests.support.needs import GRUB, require
from tests.support.residents import new_domain_memory, new_machine_memory

MIB = 256
BASE = 0xC0000000
SHUTDOWN = BASE + PAGE + 32 * Hypercall.sched_op


class FirstTrap:
    """Ends the run at the first trap and keeps it."""

    cpu: Cpu

    def __init__(self) -> None:
        self.vector = -1
        self.error_code = -1

    def exception(self, vector: int, error_code: int) -> None:
        self.vector, self.error_code = vector, error_code
        self.cpu.stop()

    def interrupt(self, vector: int) -> None:
        self.vector = vector
        self.cpu.stop()

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        return (leaf, subleaf, 0, 0)


def run_to_first_trap(image: Image, mib: int) -> tuple[FirstTrap, StartOfDay]:
    ram = Ram((mib + 8) * MIB)
    machine = new_machine_memory(ram, seed=7)
    memory = new_domain_memory(machine, 1, image.geometry, max_pages=mib * MIB)
    shared_info = memory.share_xen_frame()
    start = build_domain(
        memory, image, mib * MIB, shared_info_mfn=shared_info, console_evtchn=1, store_evtchn=2
    )
    trap = FirstTrap()
    cpu = trap.cpu = Cpu(ram, trap, image.geometry)
    VcpuPaging(memory, 0, cpu).load_base(start.base_mfn)
    cpu.enter(cs=start.cs, eip=start.eip, eflags=start.eflags, cpl=1, ss=start.ss, esp=start.esp)
    for name in ("ds", "es", "fs", "gs"):
        cpu.load_segment(name, start.ss)
    cpu.esi = start.esi
    cpu.run()
    assert audit(machine) == []
    return trap, start


@pytest.mark.parametrize("pae", ["yes", "no"])
def test_a_kernel_pushes_reads_start_info_and_calls_through_its_hypercall_page(pae: str) -> None:
    code = b"\x8b\x5e\x20"  # mov 0x20(%esi), %ebx: nr_pages
    code += b"\x53"  # push %ebx
    code += b"\xe8" + (SHUTDOWN - (BASE + len(code) + 5)).to_bytes(4, "little")
    wishes: dict[int, int | str | bytes] = {
        ElfNote.VIRT_BASE: BASE,
        ElfNote.ENTRY: BASE,
        ElfNote.PAE_MODE: pae,
    }
    notes = xen_notes(wishes | {ElfNote.HYPERCALL_PAGE: BASE + PAGE})
    image = load_image(ElfImage([ElfSegment(0, code, 2 * PAGE)], notes).pack())
    trap, start = run_to_first_trap(image, 8)
    cpu = trap.cpu
    assert (trap.vector, cpu.cpl, cpu.eax, cpu.ebx) == (HYPERCALL_VECTOR, 1, Hypercall.sched_op, 8 * MIB)
    assert (cpu.esi, cpu.esp) == (start.esi, start.esp - 8)
    assert cpu.read_u32(start.esp - 4) == 8 * MIB
    cpu.close()


@pytest.mark.parametrize("pae", ["yes", "no"])
def test_a_store_to_the_initial_page_tables_faults(pae: str) -> None:
    code = b"\x8b\x46\x3c" + b"\xc7\x00\0\0\0\0"  # mov 0x3c(%esi), %eax: pt_base; movl $0, (%eax)
    notes = xen_notes({ElfNote.VIRT_BASE: BASE, ElfNote.ENTRY: BASE, ElfNote.PAE_MODE: pae})
    trap, start = run_to_first_trap(load_image(ElfImage([ElfSegment(0, code)], notes).pack()), 8)
    assert (trap.vector, trap.error_code & 3) == (14, 3)
    assert trap.cpu.cr2 == start.layout.address(start.layout.page_tables.pfn)
    trap.cpu.close()


def test_grub_comes_to_its_first_hypercall() -> None:
    trap, _ = run_to_first_trap(load_image(require(GRUB).read_bytes()), 32)
    assert (trap.vector, trap.cpu.cpl, trap.cpu.eax) == (HYPERCALL_VECTOR, 1, Hypercall.vm_assist)
    trap.cpu.close()
