"""Where two rules meet: stacks of 16 bits, returns to no task, the ends of memory and of pages. Probes for
`tests.support.probes`, by subject."""

from __future__ import annotations

from typing import Final

from tests.support.probes import Probe

_TO_RING_3: Final = "pushl ${ss}\npushl ${esp}\npushl $2\npushl $0x1b\npushl $%%user\niret\n%%user: "
_SMALL_STACK: Final = "movl $0x127000, task + 4\nmovw $0xe8, task + 8\n"
"""Of ring 0: of 16 bits, from linear 0 on."""

_SEEN_THERE: Final = (
    "movl %esp, %eax\nmovl $0x10, %ecx\nmovl %ecx, %ss\nmovl $probe_stack, %esp\n"
    "movl 0x6ff8, %ebx\nmovl 0x126ff8, %esi"
)


def small_stacks() -> list[Probe]:
    """Stack segments of 16 bits, entered from another ring and returned to."""
    entered = _SMALL_STACK + _TO_RING_3.format(ss="0x23", esp="scratch_end")
    return [
        Probe(
            "movl $%%handler, %eax\nmovw %ax, idt + 8 * 0x62\nshrl $16, %eax\nmovw %ax, idt + 8 * 0x62 + 6\n"
            f"{entered}int $0x62\n%%handler: {_SEEN_THERE}"
        ),
        Probe(
            "movw $%%there - 0x100000, gdt + 0x68\nmovw $0x10, gdt + 0x6e\n"
            f"{entered}lcall $0x68, $0\n%%there: {_SEEN_THERE}"
        ),
        Probe(
            f"movw $0x00f2, gdt + 0xe5\n{_TO_RING_3.format(ss='0xe3', esp='0x12345678')}"
            "movl %esp, %eax\nint $DONE"
        ),
    ]


def small_task_state() -> list[Probe]:
    """A TSS of 16 bits, which has no map of ports: SP and SS for ring 0 are words."""
    loaded = (
        "movb $0x81, gdt + 0x8d\nmovw ${limit}, gdt + 0x88\nmovw $0x7000, other_task + 2\n"
        "movw $0x10, other_task + 4\nmovl $104, other_task + 0x64\nmovl $0x88, %eax\nltr %ax\n"
        "movl $%%handler, %eax\nmovw %ax, idt + 8 * 0x62\nshrl $16, %eax\nmovw %ax, idt + 8 * 0x62 + 6\n"
    )
    user = _TO_RING_3.format(ss="0x23", esp="scratch_end")
    seen = "movl %esp, %eax\nmovl $probe_stack, %esp\nmovl 0x6ff8, %ebx\nstr %ecx"
    return [
        Probe(f"{loaded.format(limit=103)}{user}int $0x62\n%%handler: {seen}"),
        Probe(f"{loaded.format(limit=5)}{user}int $0x62\n%%handler: {seen}"),
        Probe(f"{loaded.format(limit=0x200)}{user}movl $0x2e0, %edx\ninb %dx, %al\n%%handler: nop"),
        Probe("movb $0x83, gdt + 0x8d\nmovl $0x88, %eax\nltr %ax"),
        Probe("movb $0x01, gdt + 0x8d\nmovl $0x88, %eax\nltr %ax"),
    ]


def other_tasks() -> list[Probe]:
    """IRET with NT, which ring 3 may set, where the TSS names no task to return to."""
    links = (0, 7, 0x10, 0x2C, 0x88, 0x200)
    returned = "pushl $0x4002\npopfl\niret"
    return [
        *(Probe(returned, ring) for ring in (0, 3)),
        *(Probe(f"movw ${link}, task\n{returned}") for link in links),
        *(
            Probe(f"movw ${link}, task\n{_TO_RING_3.format(ss='0x23', esp='scratch_end')}{returned}")
            for link in links
        ),
        Probe(f"andb $0x7f, gdt + 0x95\nmovw $0x90, task\n{returned}"),
    ]


def no_memory() -> list[Probe]:
    """Stores of which a part goes to where there is no memory; a page there lies between WINDOW and
    READ_ONLY. What is read there is not looked at: all ones here, zeroes in QEMU."""
    mapped = "movl $0x70000067, high_table + 12\ninvlpg ABSENT\n"
    below, above = "movl $0x11223344, ABSENT - 2", "movl $0x11223344, READ_ONLY - 2"
    return [
        Probe(mapped + "movl $1, ABSENT\nmovb %al, ABSENT + 1\nsetc ABSENT + 2"),
        Probe(f"{mapped}pushl $0x102\npopfl\nmovl $1, ABSENT\nnop\nnop\npushl $2\npopfl", resumed=(1,)),
        Probe(
            f"{mapped}movl $ABSENT, %eax\nmovl %eax, %dr0\nmovl $0xd0001, %eax\nmovl %eax, %dr7\n"
            "movl $1, ABSENT\nnop",
            resumed=(1,),
        ),
        Probe(f"{mapped}{below}\nmovw ABSENT - 2, %cx"),
        Probe(f"{mapped}{above}"),
        Probe(
            f"{mapped}movl $windows + 0x67, high_table + 16\ninvlpg READ_ONLY\n{above}\nmovw READ_ONLY, %cx"
        ),
        Probe(f"{mapped}xchgl %edx, ABSENT\nmovl $0, %edx"),
        Probe(f"{mapped}movl $1, %ecx\nlock xaddl %ecx, ABSENT\nmovl $0, %ecx\npushl $2\npopfl"),
    ]


def last_of_a_page() -> list[Probe]:
    """What traps at the end of a page of code, and does not go on in the next one, which is not marked."""
    unused = "movl $code_windows + 0x1047, high_table + 28\ninvlpg CODE_WINDOW + 0x1000\n"
    return [
        Probe(f"movl ${code:#x}, CODE_WINDOW + 0xffc\n{unused}call CODE_WINDOW + 0xffc")
        for code in (0xC39090EE, 0xC390589C, 0xC390590E)
    ]


def input_across_pages() -> list[Probe]:
    """INS whose second page is not there takes nothing from the device: a byte that loops back waits all the
    same."""
    return [
        Probe(
            "movl $%%fault, %eax\nmovw %ax, idt + 8 * 14\nshrl $16, %eax\nmovw %ax, idt + 8 * 14 + 6\n"
            "movl $0x3fc, %edx\nmovb $0x10, %al\noutb %al, %dx\nmovl $0x3f8, %edx\nmovb $0x61, %al\n"
            "outb %al, %dx\nmovl $0x3fd, %edx\n1: inb %dx, %al\ntestb $1, %al\njz 1b\n"
            "movl $0x3f8, %edx\nmovl $ABSENT - 1, %edi\ninsw\n"
            "%%fault: movl $probe_stack, %esp\nmovl $0x3f8, %edx\nxorl %eax, %eax\ninb %dx, %al\n"
            "movl %eax, %ecx\nmovl $0x3fc, %edx\nxorl %eax, %eax\noutb %al, %dx"
        )
    ]


_OWN_PAGE_FAULT: Final = (
    "movl $%%fault, %eax\nmovw %ax, idt + 8 * 14\nshrl $16, %eax\nmovw %ax, idt + 8 * 14 + 6\n"
)
_SEEN_IN_ECX: Final = "movl $0x77, %ecx\n{access}\njmp %%leave\n%%fault: popl %ecx\n%%leave: "
"""The error code of the page fault, or 0x77."""


def reserved_bits() -> list[Probe]:
    """In entries of large pages of two levels. Bits 13 to 20 are left out: they are bits 32 to 39 of the
    address in QEMU, which has PSE-36 whatever CPUID says."""
    tried = (
        _OWN_PAGE_FAULT + "movl $0x10, %eax\nmovl %eax, %cr4\nmovl ${entry:#x}, directory + 8\n"
        f"{_SEEN_IN_ECX}movl $probe_stack, %esp"
    )
    return [
        Probe(tried.format(entry=entry, access=access))
        for entry in (0x4000E7, 0x4000E5, 0x6000E7, 0x6000E5, 0x6000E3, 0x6000C7)
        for access in ("movl 0x800000, %edx", "movl %edx, 0x800000")
    ]


def reserved_bits_of_pae() -> list[Probe]:
    """In entries of 8 bytes, at each level: of the second pointer to a directory, of the directory, which is
    that of the first gigabyte too, and of a page table. Before the page is used, and after it."""
    pointer, upper, leaf = "windows + 8", "windows + 0x1020", "windows + 0x2000"
    tables = {
        "windows": "$windows + 0x1001",
        pointer: "$windows + 0x1001",
        "windows + 0x1000": "$0xe7",
        "windows + 0x1008": "$0x2000e7",
        upper: "$windows + 0x2067",
        leaf: "$0x400067",
    }
    enter = _OWN_PAGE_FAULT + "movl $0x10011, %eax\nmovl %eax, %cr0\n"
    enter += "".join(f"movl {entry}, {where}\nmovl $0, {where} + 4\n" for where, entry in tables.items())
    use = (
        "movl $windows, %eax\nmovl %eax, %cr3\nmovl $0x20, %eax\nmovl %eax, %cr4\n"
        f"movl $0x80010011, %eax\nmovl %eax, %cr0\n{{used}}{_SEEN_IN_ECX}"
        "movl $probe_stack, %esp\nmovl $0x10011, %eax\nmovl %eax, %cr0\nmovl $0, %eax\nmovl %eax, %cr4\n"
        "movl $directory, %eax\nmovl %eax, %cr3\nmovl $0x80010011, %eax\nmovl %eax, %cr0\n"
        f"andb $~0x20, windows\nandb $~0x20, {pointer}"  # QEMU marks pointers, which have no such bit
    )
    changes = [
        "",
        *(
            f"movl ${1 << bit:#x}, {where} + 4\n"
            for where in (pointer, upper, leaf)
            for bit in (0, 7, 19, 20, 31)
        ),
        *(
            f"movl ${entry:#x}, {upper}\n"
            for entry in (0x4000E7, 0x4020E7, 0x5000E7, 0x4010E7, 0x4000E5, 0x4020E5)
        ),
    ]
    accesses = "movl 0x40800000, %edx", "movl %edx, 0x40800000"
    return [
        Probe(enter + change + use.format(used="", access=access))
        for change in changes
        for access in accesses
    ] + [
        Probe(enter + use.format(used=f"{accesses[1]}\n{change}invlpg 0x40800000\n", access=access))
        for change in changes
        if pointer not in change
        for access in accesses
    ]


def stale_after_a_fault() -> Probe:
    """A page that is remembered as one frame and is another's by now: EDX is what is read there before a
    write has faulted, which has the processor forget it, and EAX after that. QEMU would not forget."""
    return Probe(
        _OWN_PAGE_FAULT + "movl $1, WINDOW\nmovl $2, WINDOW + 4096\n"
        "movl $windows + 0x65, high_table + 12\ninvlpg ABSENT\nmovl ABSENT, %eax\n"
        "movl $windows + 0x1065, high_table + 12\nmovl ABSENT, %edx\nmovl %eax, ABSENT\nud2\n"
        "%%fault: movl $probe_stack, %esp\nmovl ABSENT, %eax"
    )
