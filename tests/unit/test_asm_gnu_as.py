"""The same sources give the same bytes as GNU as and ld, instruction by instruction and file by file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paravane import asm, guest_kernels
from paravane.asm.parser import read_string
from paravane.asm.program import SHT_NOBITS
from paravane.asm.unit import Session, Unit
from paravane.traps.emulate import cpuid
from tests.unit import asm_forms, asm_gnu

CORPUS = Path(__file__).with_name("asm_corpus.txt")


def _assembled(line: str) -> bytes | str:
    try:
        program = asm.assemble_text(f"_start: {line}\n", base=0)
    except asm.AssemblyError as error:
        return str(error)
    return program.sections[0].data


def test_every_form_of_the_corpus_has_the_bytes_of_gnu_as(tmp_path: Path) -> None:
    forms = [line for line in CORPUS.read_text().splitlines() if not line.startswith("#")]
    assert len(forms) > 2000
    reference = asm_gnu.instruction_bytes(forms, tmp_path)
    differences = []
    for form, expected in zip(forms, reference, strict=True):
        actual = _assembled(form)
        if isinstance(expected, str):
            if not isinstance(actual, str):
                differences.append(f"{form}: GNU as refuses it, ours gives {actual.hex()}")
        elif actual != expected:
            shown = actual if isinstance(actual, str) else actual.hex()
            differences.append(f"{form}: GNU as gives {expected.hex()}, ours {shown}")
    assert not differences, "\n".join(differences[:20])


PROCESSOR = (
    "i686+fxsr+mmx+sse+sse2+sse3+ssse3+sse4.1+sse4.2+popcnt+aes+pclmul+movbe+rdtscp+clflush+nop+prfchw"
)
"""What CPUID shows a guest (hypervisor/traps/emulate/cpuid.py), as GNU as says it."""

KNOWN_DIFFERENCES = {
    r"(lods|slod)l? -?[0-9].*": "an address without a register is taken for (%esi), with a warning",
    r"(bnd|xacquire|xrelease) .*": "prefixes that mean something to later processors only",
    r"\S+ lcall \$.*": "GNU as drops prefixes before a direct far call",
}
"""What may differ, and why. What no longer differs has to leave."""


def _line_bytes(line: str) -> bytes | str:
    """An instruction on its own, without the time that a whole program takes."""
    unit = Unit(Session(), "line")
    read_string(unit, line)
    errors = [one.message for one in unit.reporter.diagnostics if one.severity == "error"]
    return errors[0] if errors else bytes(unit.section.region.data)


def test_generated_forms_have_the_bytes_of_gnu_as(tmp_path: Path) -> None:
    """What the guest's processor lacks may be refused; everything else is taken, and to the same bytes."""
    lines = [*asm_forms.decoded(), *asm_forms.shaped(), *asm_forms.addressed(), *asm_forms.prefixed()]
    everything = asm_gnu.instruction_bytes(lines, tmp_path)
    ours_alone = asm_gnu.instruction_bytes(lines, tmp_path, f"-march={PROCESSOR}")
    differences, excused = [], set()
    for line, expected, narrow in zip(lines, everything, ours_alone, strict=True):
        actual = _line_bytes(line)
        if actual == expected or (isinstance(actual, str) and isinstance(narrow, str)):
            continue
        reason = next((known for known in KNOWN_DIFFERENCES if re.fullmatch(known, line)), None)
        if reason is None:
            shown = [text if isinstance(text, str) else text.hex() for text in (expected, actual)]
            differences.append(f"{line}: GNU as says {shown[0]}, ours {shown[1]}")
        else:
            excused.add(reason)
    assert not differences, f"{len(differences)} differ:\n" + "\n".join(differences[:40])
    assert excused == KNOWN_DIFFERENCES.keys()


FEATURES = {
    "fpu": "fadds (%eax)", "tsc": "rdtsc", "msr": "rdmsr", "cx8": "cmpxchg8b (%eax)",
    "cmov": "cmovel %eax, %ebx", "clflush": "clflush (%eax)", "mmx": "paddb %mm0, %mm1",
    "fxsr": "fxsave (%eax)", "sse": "addps %xmm0, %xmm1", "sse2": "cvtdq2pd (%eax), %xmm1",
    "sse3": "fisttpll (%eax)", "pclmulqdq": "pclmulqdq $1, %xmm0, %xmm1", "ssse3": "phsubsw %mm0, %mm1",
    "sse4_1": "pblendvb %xmm0, %xmm1, %xmm2", "sse4_2": "crc32b %al, %ebx", "movbe": "movbe (%eax), %ebx",
    "popcnt": "popcntw %ax, %bx", "aesni": "aeskeygenassist $1, %xmm0, %xmm1",
    "3dnowprefetch": "prefetchw (%eax)", "rdtscp": "rdtscp",
}  # fmt: skip
WITHOUT_INSTRUCTIONS = {"de", "pae", "mce", "apic", "mca", "pat", "hypervisor", "nx"}


def test_the_instructions_of_every_advertised_feature_are_taken() -> None:
    assert FEATURES.keys() | WITHOUT_INSTRUCTIONS == cpuid.FEATURES
    assert [line for line in FEATURES.values() if isinstance(_line_bytes(line), str)] == []


def _compare(sources: list[Path], tmp_path: Path, *options: str) -> None:
    """All sections byte by byte."""
    include = [Path(option[2:]) for option in options]
    program = asm.assemble(sources, include=include)
    reference = asm_gnu.link(sources, program, tmp_path, *options)
    for section in program.sections:
        expected = reference[section.name]
        actual = bytes(section.size) if section.kind == SHT_NOBITS else section.data
        assert len(actual) == len(expected), section.name
        for offset, (a, b) in enumerate(zip(actual, expected, strict=True)):
            assert a == b, f"{section.name}+0x{offset:x}: ours 0x{a:02x}, GNU 0x{b:02x}"


FILES = {
    "sections": """
        .text
        .globl _start
_start: movl $message, %eax
        movl $message + 4, %ebx
        movl table(,%eax,4), %ecx
        movl $end - message, %edx
        movb $length, %al
        pushl $message - 0xC0000000
        addl $forward, %ebx
        addl $early, %ebx
        .set early, 5
        addl $early, %ebx
        movw $length, %cx
        cmpl $limit, limit
        ljmp $0x10, $_start
        call _start; jmp *table+4
        movl %fs:message, %eax
        ret
        .equ forward, 7
        .section .rodata
message: .ascii "hello\\n\\t\\x41\\101\\0"
end:
        .asciz "a", "b"
        .equ length, end - message
        .data
table:  .long _start, message, table, . - table, limit, ~0, -1, 1 << 31
        .word length, 0x1234
        .byte 1, 2, 'a', '\\n, end - message
        .quad 0x123456789abcdef0, -2
        .balign 8, 0xcc
        .fill 3, 2, 0x1234
        .zero 5
        .p2align 4, 0x11
        .org table + 0x80, 0x22
limit:  .long limit - table
        jmps: .org jmps + 4
        .long 1
        .org jmps + 4 * 3
        .long 3
        .org jmps + 4 * 4
        .long 4
        .org jmps + 4 * 9
        .pushsection .rodata
        .long 42
        .popsection
        .section .init.data, "aw"
        .long table
        .previous
        .long 43
        .bss
        .skip 16
buffer: .space 4096
        .lcomm local_area, 32
        .lcomm local_byte, 1
        .lcomm local_word, 3
        .lcomm local_long, 7
        .comm shared_area, 64, 16
        .text
        movl $buffer, %esi
        movl $local_area, %esi
        movl $shared_area, %esi
        pushl $local_byte
        pushl $local_word
        pushl $local_long
        .section .note.Xen, "a", @note
        .long 4, 4, 1
        .asciz "Xen"
        .long _start
""",
    "relaxation": """
        .globl _start
_start: jmp near
        .skip 100, 0x90
near:   je far
        jne near
        .skip 127, 0x90
far:    jmp far2
        .skip 128, 0x90
far2:   jmp _start
        jecxz 1f
        loop 1f
1:      jmp 1b
        jc 1f
        jmp other
        call other
        .balign 16, 0xcc
1:      jmp 2f
        .rept 40
        jmp 3f
        .endr
2:      .skip 50, 0x90
3:      ja 2b
        .p2align 4, 0xcc, 3
        jmp _start + 1
        jmp . + 4
        jmp 4f - 2
4:      jz weak_one
        .weak weak_one
weak_one: nop
        .section .text.other, "ax"
other:  jmp _start
        jmp other
        .text
difference: addl $(6f - 5f), %ebx
5:      nop
6:      addl $(6b - 5b), %ebx
        .skip 6b - 5b
        jmp 7f
8:      .skip 7f - 9f + 3, 0x90
9:      nop
        jmp 8b
7:      addl $(7b - 8b), %ebx
""",
    "macros": """
        .macro push_all first:req, rest:vararg
        pushl \\first
        .ifnb \\rest
        push_all \\rest
        .endif
        .endm
        .macro entry name, code=0, has_error=0
\\name: .if \\has_error == 0
        pushl $0
        .else
        nop
        .endif
        pushl $\\code
        jmp common\\@
common\\@: .long \\code \\() + 1
        .endm
        .macro string text, tail="!"
        .asciz "\\text\\tail"
        .endm
        .macro nested
        .macro inner value
        .byte \\value
        .endm
        inner 1
        .purgem inner
        .endm
        .macro count from, to
        .if \\from > \\to
        .exitm
        .endif
        .byte \\from
        count (\\from + 1), \\to
        .endm
        .macro address where, more
        movl \\where, %eax
        movl %ebx, \\more
        .endm
        .globl _start
_start: push_all %eax, %ebx, %ecx
        push_all $1
        entry alpha
        entry beta, 13, 1
        entry code=14 name=gamma
        string "hello, world"
        string text="x", tail=y
        nested
        nested
        count 1, 5
        address 4(%esi), 8(%edi)
        address %ecx %edx
        .irp register, eax, ebx, ecx
        incl %\\register
        .endr
        .irpc digit, 123
        .byte \\digit
        .endr
        .rept 3
        .irp n, 1, 2
        .byte \\n
        .endr
        .endr
        .set i, 0
        .rept 4
        .long i * i
        .set i, i + 1
        .endr
        .ifdef _start
        .byte 0x77
        .endif
        .ifndef nothing
        .byte 0x78
        .endif
        .ifc a b, a b
        .byte 0x79
        .endif
        .if 0
        .error "never"
        .elseif 1
        .byte 0x7a
        .else
        .byte 0x7b
        .endif
        .ifeq 1 - 1; .byte 1; .endif
        .rept 2; nop; .endr
""",
    "expressions": """
        .globl _start
_start: .long 1 + 2 * 3, (1 + 2) * 3, 2 | 4 + 1, 6 & 3 + 1, 1 << 4 - 1, 7 - 2 - 1
        .long 5 ! 2, !5, !0, ~5, -5, - - 5, +5, 1 < 2, 2 < 1, 1 == 1, 1 != 1, 1 <> 2, 3 >= 3, 1 <= 0
        .long 1 && 0, 1 || 0, 3 && 2 || 0, 7 / 2, -7 / 2, 7 % 3, -7 % 3, 0xf0 >> 4, 1 << 31
        .long 0b101, 017, 0xAbC, 'a', 'a + 1, '\\\\, 1 ^ 3, 5 == 5 && 2 > 1
        .long 1 + 2 == 3, 10 / 3 * 3
        .long _start + 4, . - _start, _start - . + 1, 1f - ., 0x80000000 + 0x7fffffff
1:      .byte 1b - _start
        .word 2f - 1b
2:      .set a, 5
        .set b, a + 1
        .long a, b
        .set a, 10
        .long a, b
        .set label, 2b + 4
        .long label, label - 2b
        movl $a, %eax
        movl -4 + 8(%ebp), %eax
        movl (4 + 4)(%ebp), %eax
        movl $(1 << 3) | 1, %eax
        movl a + 1(%ebp,%ecx,4), %eax
        movl label(%ebp), %eax
        c = 3
        c = c + 1
        .byte c, 4 % 3
""",
}


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_whole_file_has_the_bytes_of_gnu_as_and_ld(name: str, tmp_path: Path) -> None:
    source = tmp_path / f"{name}.S"
    source.write_text(FILES[name])
    _compare([source], tmp_path)


def test_several_units_link_as_with_ld(tmp_path: Path) -> None:
    texts = (
        ".globl _start, shared\n_start: call helper\n jmp helper\nlocal: movl $shared, %eax\n jmp local\n"
        ".data\nshared: .long local, helper\n .byte 1\n .comm common_one, 8, 8\n"
        ".weak absent\n.long absent\n",
        ".globl helper\n.balign 16\nhelper: ret\nlocal: jmp local\n"
        ".data\n.balign 8\n .long shared + 4, local\n"
        ".comm common_one, 32, 4\n .long common_one\n.bss\n .skip 3\n",
        ".weak helper\nhelper: nop\n.data\n.long helper\n.bss\n.balign 4\n.skip 5\n",
    )
    sources = []
    for n, text in enumerate(texts):
        sources.append(tmp_path / f"unit{n}.S")
        sources[-1].write_text(text)
    _compare(sources, tmp_path)


def test_units_that_all_include_the_runtime_link_as_with_ld(tmp_path: Path) -> None:
    sources = [tmp_path / "main.S", tmp_path / "other.S"]
    include = '.include "runtime.inc"\n.include "paging.inc"\n'
    sources[0].write_text(include + 'XEN_NOTES\n.text\nmain: PRINT "one"\n call other\n ret\n')
    sources[1].write_text(include + '.globl other\nother: PRINT "two"\n PRINT_HEX start_info\n jmp panic\n')
    _compare(sources, tmp_path, f"-I{asm.INCLUDE_DIR}")


@pytest.mark.parametrize("kernel", guest_kernels.names())
def test_a_guest_kernel_has_the_bytes_of_gnu_as_and_ld(kernel: str, tmp_path: Path) -> None:
    sources = list(guest_kernels.load(kernel).sources)
    _compare(sources, tmp_path, f"-I{asm.INCLUDE_DIR}", f"-I{sources[0].parent}")
