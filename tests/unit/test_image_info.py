"""`paravane info`: what an image is and which hypercalls its code seems to use."""

from paravane.abi.elfnote import ElfNote
from paravane.abi.hypercall import Hypercall
from paravane.image import load_image
from paravane.tools.hypercall_scan import scan_hypercalls
from paravane.tools.info import describe
from tests.support.elfwriter import (
    PAGE,
    ElfImage,
    ElfSection,
    ElfSegment,
    ElfSymbol,
    kernel,
    legacy_kernel,
    xen_notes,
)
from tests.support.needs import GRUB, require
from tests.support.work import lines_executed

TRAP = b"\xcd\x82"
HLT = b"\xf4"


def found(code: bytes, hypercall_page: int | None = None) -> tuple[dict[str, int], int]:
    extra: dict[int, int | str | bytes] = {}
    if hypercall_page is not None:
        extra[ElfNote.HYPERCALL_PAGE] = hypercall_page
    use = scan_hypercalls(load_image(kernel(code, extra=extra).pack()))
    return {Hypercall(number).name: count for number, count in use.places.items()}, use.unknown


def call(at: int, target: int, opcode: int = 0xE8) -> bytes:
    return bytes((opcode,)) + (target - at - 5 & 0xFFFFFFFF).to_bytes(4, "little")


def test_the_last_load_of_eax_before_the_trap_counts() -> None:
    code = b"\xb8\x0e\0\0\0" + b"\xb8\x1d\0\0\0" + b"\x31\xdb" + TRAP
    assert found(code) == ({"sched_op": 1}, 0)


def test_a_load_that_is_overwritten_or_not_reached_does_not_count() -> None:
    overwritten = b"\xb8\x0e\0\0\0" + b"\x89\xd8" + TRAP
    after_ret = b"\xb8\x0e\0\0\0" + b"\xc3" + TRAP
    assert found(overwritten) == ({}, 0)
    assert found(after_ret) == ({}, 0)


def test_branches_into_the_hypercall_page_count_by_entry() -> None:
    page = PAGE
    code = call(0, page + 32 * Hypercall.mmu_update) + call(5, page + 32 * Hypercall.iret, 0xE9)
    code += call(10, page + 32 * Hypercall.mmu_update) + call(15, page + 33)
    assert found(code.ljust(2 * PAGE, HLT), page) == ({"mmu_update": 2, "iret": 1}, 0)


def test_callers_of_a_function_that_traps_count_with_the_number_they_give() -> None:
    wrapper = 0x40
    code = b"\xb8\x20\0\0\0" + call(5, wrapper)
    code += b"\x6a\x14" + call(12, wrapper)
    code += b"\x50" * 60
    code = code[:wrapper] + b"\x53\x89\xd3" + TRAP + b"\x5b\xc3"
    assert found(code) == ({"event_channel_op": 1, "grant_table_op": 1}, 0)


def test_a_caller_whose_number_is_not_plain_is_unknown() -> None:
    code = (b"\x89\xf8" + call(2, 0x20)).ljust(0x20, HLT) + b"\x53" + TRAP + b"\x5b\xc3"
    assert found(code) == ({}, 1)


def test_grub_uses_its_seven_hypercalls_and_carries_an_iret() -> None:
    use = scan_hypercalls(load_image(require(GRUB).read_bytes()))
    assert set(use.places) == {
        Hypercall.mmu_update,
        Hypercall.update_va_mapping,
        Hypercall.grant_table_op,
        Hypercall.vm_assist,
        Hypercall.mmuext_op,
        Hypercall.sched_op,
        Hypercall.event_channel_op,
        Hypercall.iret,
    }
    assert use.unknown == 0


def test_a_file_full_of_traps_is_looked_at_for_a_moment_only() -> None:
    places, _ = found((b"\xb8\x1d\0\0\0" + TRAP) * 100_000)
    assert places == {"sched_op": 5_000}


def test_the_description_of_grub() -> None:
    text = describe(load_image(require(GRUB).read_bytes()))
    assert text.endswith("\n")
    for line in (
        "guest:           GRUB",
        "ABI:             xen-3.0-x86_32p (PAE: yes[extended-cr3])",
        "kernel:          0x00000000 to 0x005810c4, 5640 KiB in memory",
        "entry:           0x00000000",
        "hypercall page:  none",
        "memory:          at least 8 MiB",
        "notes from PT_NOTE:",
        "  PAE_MODE         'yes'",
        "  0x00416858  0x005810c4  0x0016a86c  0x0016a86c  rwx",
        "   20  grant_table_op                 3 places",
    ):
        assert line in text.splitlines()


def test_the_description_names_addresses_and_features() -> None:
    elf = kernel(
        bytes(2 * PAGE),
        extra={
            ElfNote.HYPERCALL_PAGE: PAGE,
            ElfNote.FEATURES: "!writable_page_tables",
            ElfNote.L1_MFN_VALID: (1).to_bytes(8, "little") * 2,
            ElfNote.GUEST_VERSION: "0.1\x1b[31m",
        },
    )
    elf.symbols = [ElfSymbol("_start", 0), ElfSymbol("calls", PAGE)]
    text = describe(load_image(elf.pack()))
    assert "entry:           0x00000000 <_start+0x0>" in text
    assert "hypercall page:  0x00001000 <calls+0x0>" in text
    assert "requires         writable_page_tables" in text
    assert "L1_MFN_VALID     0x1=0x1" in text
    assert "none found" in text
    # A file must not be able to send control sequences to the terminal.
    assert "\x1b" not in text


def test_the_description_shows_a_loaded_symbol_table() -> None:
    elf: ElfImage = legacy_kernel("XEN_VER=xen-3.0,LOADER=generic,BSD_SYMTAB")
    elf.symbols = [ElfSymbol("start", 0)]
    text = describe(load_image(elf.pack()))
    assert "symbols:         1, loaded after the kernel" in text
    assert "rw-  (symbol table)" in text
    assert "ABI:             xen-3.0-x86_32 (PAE: no)" in text


def test_code_that_many_sections_name_is_looked_at_once() -> None:
    code = b"\xb8\x1d\0\0\0" + TRAP
    header = {"sh_flags": 4, "sh_addr": 0}  # SHF_EXECINSTR
    sections = [ElfSection(f".text{at}", 1, code, header) for at in range(50)]
    image = load_image(ElfImage([ElfSegment(0, code)], xen_notes(), sections=sections).pack())
    assert image.code_ranges == ((0, len(code)),)
    assert scan_hypercalls(image).places == {Hypercall.sched_op: 1}


def _work(segments: int, padding: int = 0) -> int:
    """What it takes to describe an image of so many segments, each followed by zeros in the file."""
    code = b"\xb8\x1d\0\0\0" + TRAP + HLT
    pieces = [ElfSegment(at * PAGE, code.ljust(len(code) + padding, b"\0")) for at in range(segments)]
    image = ElfImage(pieces, xen_notes()).pack()
    return lines_executed(lambda: describe(load_image(image)))


def test_the_work_grows_with_the_segments_and_no_faster() -> None:
    few, many = _work(50), _work(400)
    assert many < 8 * few * 1.1


def test_padding_costs_no_work() -> None:
    assert _work(1, padding=1 << 20) <= _work(1) + 10
