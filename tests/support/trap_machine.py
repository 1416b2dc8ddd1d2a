"""One vcpu's traps over a real processor, without a domain: what the tests of the traps package stand on."""

import struct
from collections.abc import Callable

from paravane.abi.errno import Errno
from paravane.abi.trap import TI_IF, TrapInfo
from paravane.cpu import PAE, Cpu, Ram
from paravane.refusal import Refusal
from paravane.traps import GuestCrash, Peripherals, TrapNote, VcpuTraps
from paravane.vcpu_info import VcpuInfo

ROOT, DIRECTORY, TABLE = 1, 2, 3
INFO = 0x5000
KERNEL, KERNEL_STACK_TOP = 0x10000, 0x22000
USER, USER_STACK_TOP = 0x30000, 0x32000
HANDLERS = 0x40000
DATA, CURRENT_STACK_TOP = 0x50000, 0x54000
UNMAPPED = 0x60000
GDT, GDT_LIMIT = 0x80000, 0xEFFF
LDT, LDT_LIMIT = 0x8F000, 0x1FFF
"""Two pages of descriptors, copies of the guest's; neither is mapped before it is asked for."""

FOREIGN_FRAMES = range(0x90, 0x100)
"""Machine frames that no page table maps."""

RING1_CS, RING1_DS, RING3_CS, RING3_DS = 0xE019, 0xE021, 0xE02B, 0xE033
PRESENT, READ_ONLY_USER, EVERYTHING = 1, 5, 7

# The guest's own descriptors, by index; selectors are 8 * index + RPL.
GUEST_DESCRIPTORS = {
    1: 0x00CFBB000000FFFF,  # ring 1 code, flat
    2: 0x00CFB3000000FFFF,  # ring 1 data, flat
    3: 0x00CFFB000000FFFF,  # ring 3 code, flat
    4: 0x00CFF3000000FFFF,  # ring 3 data, flat
    5: 0x0040B3051000FFFF,  # ring 1 data, base 0x51000, limit 64 KiB
    6: 0x00CF33000000FFFF,  # ring 1 data, not present
    7: 0x0040BB000000FFFF,  # ring 1 code, limit 64 KiB
    8: 0x00CF3B000000FFFF,  # ring 1 code, not present
    9: 0x00CFDB000000FFFF,  # ring 2 code, flat
    10: 0x00CFD3000000FFFF,  # ring 2 data, flat
    11: 0x000FBB000000FFFF,  # ring 1 code, 16-bit
}
RESERVED_DESCRIPTORS = {
    RING1_CS: 0x00CFBB000000FFFF,
    RING1_DS: 0x00CFB3000000FFFF,
    RING3_CS: 0x00CFFB000000FFFF,
    RING3_DS: 0x00CFF3000000FFFF,
}


class TrapMachine:
    """A processor in a flat address space where linear = machine below 0x60000, and its `VcpuTraps`.

    It is the processor's trap handler and the traps' host. After each trap it stops the run unless `resume`
    says to go on; what ended the domain is in `crash`.
    """

    def __init__(self) -> None:
        self.ram = Ram(0x100)
        self.cpu = Cpu(self.ram, self, PAE)
        self.vcpu_id = 0
        self.info = VcpuInfo(INFO)
        self.architectural_iopl = False
        self.tsc_khz = 1_000_000
        self.max_mfn = 0xFF
        self.clock = 0x1_2345_6789
        self.base = 0x77000
        self.notes: list[str] = []
        self.trace: list[TrapNote] = []
        self.hypercalls: list[int] = []
        self.hypercall_pages: list[int] = []
        self.ldt_requests: list[int] = []
        self.crash: GuestCrash | None = None
        self.resume: Callable[[], bool] = lambda: False
        self._build_memory()
        self.cpu.cr3 = ROOT << 12
        self.cpu.set_gdt(GDT, GDT_LIMIT)
        self.cpu.set_ldt(LDT, LDT_LIMIT)
        self.peripherals = Peripherals()
        self.traps = VcpuTraps(self, self.peripherals)
        self.emulated: list[TrapNote] = []
        self.traps.observe(self._note)
        self.kernel()

    def _build_memory(self) -> None:
        quads = self.ram.quads
        quads[ROOT << 9] = DIRECTORY << 12 | 1
        quads[DIRECTORY << 9] = TABLE << 12 | EVERYTHING
        for page in (*range(KERNEL >> 12, UNMAPPED >> 12), *range(GDT >> 12, (GDT >> 12) + 15)):
            self.map(page << 12, page, EVERYTHING)
        for index, descriptor in GUEST_DESCRIPTORS.items():
            quads[(GDT >> 3) + index] = quads[(LDT >> 3) + index] = descriptor
        for selector, descriptor in RESERVED_DESCRIPTORS.items():
            quads[(GDT + (selector & ~7)) >> 3] = descriptor

    def map(self, va: int, mfn: int, flags: int) -> None:
        """Map (or, with flags 0, unmap) one page below 2 MiB."""
        self.ram.quads[(TABLE << 9) + (va >> 12)] = mfn << 12 | flags
        self.cpu.flush_tlb()

    def set_descriptor(self, index: int, descriptor: int) -> None:
        """Write one descriptor of the guest's table."""
        self.ram.quads[(GDT >> 3) + index] = descriptor

    def kernel(self, eflags: int = 0x202, eip: int = KERNEL) -> None:
        """Ring 1 on its own flat segments, its stack at CURRENT_STACK_TOP."""
        self.cpu.enter(cs=RING1_CS, eip=eip, eflags=eflags, cpl=1, ss=RING1_DS, esp=CURRENT_STACK_TOP)
        for name in ("ds", "es"):
            self.cpu.load_segment(name, RING1_DS)

    def user(self, eflags: int = 0x202, eip: int = USER) -> None:
        """Ring 3 on its own flat segments."""
        self.cpu.enter(cs=RING3_CS, eip=eip, eflags=eflags, cpl=3, ss=RING3_DS, esp=USER_STACK_TOP)
        for name in ("ds", "es"):
            self.cpu.load_segment(name, RING3_DS)

    def enter_ring(self, ring: int, eflags: int = 0x202) -> None:
        """`kernel` or `user`."""
        if ring == 1:
            self.kernel(eflags)
        else:
            self.user(eflags)

    def install(self, vector: int, flags: int = 0, cs: int = RING1_CS, eip: int | None = None) -> int:
        """Register a handler; its address."""
        address = handler(vector) if eip is None else eip
        self.traps.install_trap(TrapInfo(vector, flags, cs, address))
        return address

    def install_all(self, *, masking: bool = False) -> None:
        """Register a handler for every vector, `int n` allowed from everywhere."""
        for vector in range(256):
            self.install(vector, 3 | (TI_IF if masking else 0))
        self.traps.switch_stack(RING1_DS, KERNEL_STACK_TOP)

    def run(self, code: bytes) -> None:
        """Put `code` at EIP and run it until the first trap that nobody resumes from."""
        self.ram.write(self.cpu.eip, code)
        self.cpu.run()

    def words(self, address: int, count: int) -> list[int]:
        """Machine words."""
        return list(struct.unpack(f"<{count}I", self.ram.read(address, 4 * count)))

    def frame(self, count: int) -> list[int]:
        """The `count` words at ESP."""
        return self.words(self.cpu.esp, count)

    @property
    def mask(self) -> int:
        return self.ram.bytes[INFO + 1]

    @mask.setter
    def mask(self, value: int) -> None:
        self.ram.bytes[INFO + 1] = value

    def close(self) -> None:
        self.cpu.close()
        self.ram.close()

    # The processor's trap handler.

    def exception(self, vector: int, error_code: int) -> None:
        self._serve(lambda: self.traps.exception(vector, error_code))

    def interrupt(self, vector: int) -> None:
        if vector == 0x82 and self.cpu.cpl == 1:
            self.hypercalls.append(self.cpu.eax)
            self._serve(lambda: None)
        else:
            self._serve(lambda: self.traps.interrupt(vector))

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        return self.traps.cpuid(leaf, subleaf)

    def _note(self, note: TrapNote) -> None:
        """`trace` has what reached the guest, `emulated` what did not have to."""
        (self.emulated if "emulated" in note.outcome or "gate" in note.outcome else self.trace).append(note)

    def _serve(self, action: Callable[[], object]) -> None:
        try:
            action()
        except GuestCrash as crash:
            self.crash = crash
        if self.crash is not None or not self.resume():
            self.cpu.stop()

    # The traps' host.

    def tsc(self) -> int:
        return self.clock

    def nmi_reason(self) -> int:
        return 0

    def guest_cr3(self) -> int:
        return self.base

    def load_guest_cr3(self, value: int) -> None:
        if value & 0xFFF:
            raise refusal("a base table in the middle of a frame")
        self.base = value

    def map_ldt_page(self, offset: int) -> bool:
        """The LDT's only page appears when it is first asked for."""
        self.ldt_requests.append(offset)
        if offset >> 12:
            return False
        self.map(LDT, LDT >> 12, EVERYTHING)
        return True

    def fill_hypercall_page(self, mfn: int) -> None:
        if mfn >= 0x100:
            raise refusal("no such frame")
        self.hypercall_pages.append(mfn)

    def guest_note(self, sentence: str) -> None:
        self.notes.append(sentence)


def refusal(sentence: str) -> Refusal:
    """An EINVAL."""
    return Refusal(Errno.EINVAL, sentence)


def handler(vector: int) -> int:
    """Where `install` puts the handler of `vector`."""
    return HANDLERS + 16 * vector
