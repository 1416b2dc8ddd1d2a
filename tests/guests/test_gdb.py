"""The real gdb on guests: our kernels, one in C, an application of the small UNIX."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.boot import HOST_TIMEOUT
from tests.support.debugged import SPINNING, Boot, gdb
from tests.support.needs import tool
from tests.support.prelude import prelude
from tests.support.unix_archive import archive

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent

COUNTING = (
    prelude()
    + """
    .globl main
    .type main, @function
main:
    xorl %ecx, %ecx
again:
    pushl %ecx
    call count
    popl %ecx
    incl %ecx
    cmpl $300, %ecx
    jne again
    PRINT "counted\\n"
    ret
    .size main, . - main

    .type count, @function
count:
    addl $3, counter
counted:
    ret
    .size count, . - count

    .data
    .globl counter
counter:
    .long 0
    .size counter, 4
    .type counter, @object
"""
)


@pytest.fixture(scope="module")
def c_kernel(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`debugged.c`, compiled and linked."""
    image = tmp_path_factory.mktemp("c") / "debugged.elf"
    options = "-m32 -g -O0 -ffreestanding -fno-pic -no-pie -fno-stack-protector -nostdlib -mno-sse"
    linker = ["-Wl,-T,debugged.ld", "-Wl,--build-id=none"]
    command = [tool("gcc"), *options.split(), *linker, "debugged.c", "-o", str(image)]
    subprocess.run(command, check=True, cwd=HERE, timeout=HOST_TIMEOUT)
    return str(image)


def test_symbols_lines_and_source_come_without_a_file(debugged: Callable[..., Boot]) -> None:
    guest = debugged("hello")
    text = gdb(
        guest.port,
        "break main",
        "continue",
        "list 12,14",
        "x/2i $pc",
        "info symbol $pc",
        "print $cs & 3",
        "stepi",
        "print $ring",
        "print $eflags & 2",
        "info source",
        "break print_string",
        "continue",
        "disable",
        "continue",
    )
    assert "Breakpoint 1, main () at" in text
    assert re.search(r"Located in /\S*/guest_kernels/hello/hello\.S\n", text)
    assert re.search(r"Breakpoint 2, print_string .*\.inc:\d+\n\d+\t", text)
    assert 'hello.S:15\n15\t    PRINT "hello from ring "' in text
    assert "=> 0xc0100000 <main>:\tmov " in text
    assert "<main+5>:\tcall   " in text
    assert "main in section .text" in text
    assert re.findall(r"^\$\d = (\d+)$", text, re.MULTILINE) == ["1", "1", "2"]
    assert "exited normally" in text
    status, console, errors = guest.end()
    assert (status, errors) == (0, "")
    assert console.startswith("hello from ring 1\n")


def test_break_step_finish_watch_and_backtrace(
    debugged: Callable[..., Boot], source: Callable[[str], str]
) -> None:
    guest = debugged(source(COUNTING))
    text = gdb(
        guest.port,
        "break count",
        "continue",
        "backtrace",
        "finish",
        "x/i $pc",
        "step",
        "next",
        "delete",
        "watch *(int *)&counter",
        "continue",
        "print *(int *)&counter",
        "x/i $pc",
        "delete",
        "continue",
    )
    assert re.search(r"#0  count \(\) at .*kernel.S:\d+\n#1  0x\w+ in main \(\) at .*kernel.S", text)
    assert "=> 0xc0100008 <main+8>:\tpop    %ecx" in text
    assert "Old value = 3\nNew value = 6" in text
    assert "$1 = 6" in text
    assert re.search(r"=> 0x\w+ <count\+7>:\tret", text)
    assert guest.end()[:2] == (0, "counted\n")


def test_a_condition_is_looked_at_many_times(
    debugged: Callable[..., Boot], source: Callable[[str], str]
) -> None:
    guest = debugged(source(COUNTING))
    text = gdb(
        guest.port,
        "break counted if *(int *)&counter == 750",
        "continue",
        "info breakpoints",
        "print *(int *)&counter",
        "continue",
    )
    assert "breakpoint already hit 1 time" in text
    assert "$1 = 750" in text
    assert guest.end()[:2] == (0, "counted\n")


def test_a_kernel_in_c_line_by_line(debugged: Callable[..., Boot], c_kernel: str) -> None:
    guest = debugged(c_kernel)
    text = gdb(
        guest.port,
        "break kernel_main",
        "continue",
        "next",
        "info locals",
        "step",
        "info args",
        "backtrace",
        "next",
        "watch to->value",
        "continue",
        "delete 2",
        "finish",
        "print counter",
        "print add(&counter, -2)",
        "print line",
        "set variable counter.value = 22",
        "break hypercall if number == 29",
        "continue",
        "print *(int *)third",
        "continue",
    )
    assert "total = sum(4)" in text
    assert "total = 10" in text
    assert re.search(r"add \(to=0x\w+ <counter>, amount=2\) at debugged.c:\d+", text)
    assert re.search(r"#0  add .*\n#1  0x\w+ in kernel_main \(\) at debugged.c", text)
    assert "Old value = 40\nNew value = 42" in text
    assert "Value returned is $1 = 42" in text
    assert "counter = {name = " not in text
    assert re.search(r'\$2 = \{name = 0x\w+ "steps", value = 42, ratio = 1\}', text)
    assert "$3 = 40" in text
    assert '$4 = "the sum is ..\\n"' in text
    assert "exited normally" in text
    status, _, errors = guest.end()
    assert (status, errors) == (0, "(d1) the sum is 32\n")


def test_registers_of_every_kind(debugged: Callable[..., Boot], source: Callable[[str], str]) -> None:
    kernel = (
        prelude()
        + """
    .globl main
    .type main, @function
main:
    fld1
    fldpi
    movl $0x3f800000, %eax
    movd %eax, %xmm3
    sti_free: nop
stop:
    nop
    ret
"""
    )
    guest = debugged(source(kernel))
    text = gdb(
        guest.port,
        "break stop",
        "continue",
        "print $st1",
        "print $ftag",
        "print $xmm3.v4_float[0]",
        "print/x $cr0 & 0x80010001",
        "print/x $dr7",
        "set $eax = 0x1234",
        "set $xmm3.v4_int32[0] = 0x40000000",
        "set $st0 = 2.5",
        "print/x $eax",
        "print $xmm3.v4_float[0]",
        "print $st0",
        "info registers eflags",
        "continue",
    )
    values = re.findall(r"^\$\d+ = (.*)$", text, re.MULTILINE)
    assert values == ["1", "4095", "1", "0x80010001", "0x400", "0x1234", "2", "2.5"]
    assert re.search(r"eflags +0x\w+ +\[.*IF.*\]", text)


def test_a_crash_stops_before_the_domain_ends(debugged: Callable[..., Boot]) -> None:
    guest = debugged("crash")
    text = gdb(
        guest.port, "continue", "backtrace 1", "x/i $pc", "print $eax", "info registers eip", "continue"
    )
    assert "#PF with error code 0x2" in text
    assert "Program received signal SIGSEGV" in text
    assert "fatal_store () at" in text
    assert "=> 0xc0100028 <fatal_store>:\tmov    %eax,0xd0000000" in text
    assert "Program terminated with signal SIGABRT" in text
    status, _, errors = guest.end()
    assert status == 3
    assert "crashed: #PF with error code 0x2" in errors


def test_a_panic_of_the_kernels_own_stops_as_well(
    debugged: Callable[..., Boot], source: Callable[[str], str]
) -> None:
    kernel = prelude() + '.globl main\n.type main, @function\nmain:\n    PANIC "enough"\n'
    guest = debugged(source(kernel))
    text = gdb(guest.port, "continue", "detach")
    assert "its kernel asked for shutdown with reason 3" in text
    assert "Program received signal SIGABRT" in text
    assert guest.end()[0] == 3


def test_ctrl_c_stops_a_guest_that_spins(debugged: Callable[..., Boot], source: Callable[[str], str]) -> None:
    guest = debugged(source(SPINNING))
    words = [
        f"target remote :{guest.port}",
        "continue",
        "print (unsigned)$eip > 0xc0000000",  # perhaps not back from its console yet
        "kill",
    ]
    command = [tool("gdb"), "-nx", "-batch", *(word for line in words for word in ("-ex", line))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as debugger:
        console = guest.console
        assert console.readline() == b"round and round\n"  # it runs, so gdb waits for it
        debugger.send_signal(signal.SIGINT)
        text = debugger.communicate(timeout=HOST_TIMEOUT)[0].decode()
    assert "Program received signal SIGINT" in text
    assert re.search(r"^\$1 = 1$", text, re.MULTILINE), text
    status, _, errors = guest.end()
    assert status == 3
    assert "crashed: its debugger killed it" in errors


APPLICATION = """
    .globl _start, twice, after
    .type _start, @function
_start:
    movl %esp, %ebp
    movl $21, %eax
    call twice
    movl %eax, %ebx
    subl $42, %ebx
    movl $1, %eax
before:
    int $0x80
    .type twice, @function
twice:
    addl %eax, %eax
after:
    ret
"""


def test_an_application_in_ring_3(debugged: Callable[..., Boot], tmp_path: Path) -> None:
    program, unit = tmp_path / "program", tmp_path / "program.s"
    unit.write_text(APPLICATION)
    subprocess.run([tool("as"), "--32", "-g", str(unit), "-o", str(tmp_path / "program.o")], check=True)
    subprocess.run(
        [tool("ld"), "-m", "elf_i386", str(tmp_path / "program.o"), "-o", str(program)], check=True
    )
    ramdisk = tmp_path / "archive.cpio"
    ramdisk.write_bytes(archive({"bin/program": program.read_bytes()}))
    guest = debugged("unix", "--ramdisk", str(ramdisk), "--", "program")
    text = gdb(
        guest.port,
        f"add-symbol-file {program}",
        "break twice",
        "continue",
        "print $ring",
        "print $eax",
        "finish",
        "print $eax",
        "break before",
        "continue",
        "print $ring",
        "delete",
        "stepi",
        "print $ring",
        "info symbol $pc",
        "continue",
    )
    assert re.findall(r"^\$\d = (\d+)$", text, re.MULTILINE) == ["3", "21", "42", "3", "1"]
    assert re.search(r"^syscall\w* in section .text", text, re.MULTILINE)
    assert "exited normally" in text
    assert guest.end()[0] == 0


def test_what_the_monitor_tells(debugged: Callable[..., Boot]) -> None:
    guest = debugged("paging")
    text = gdb(
        guest.port,
        "monitor help",
        "monitor domains",
        "break main",
        "continue",
        "monitor where",
        "monitor pagetable 0xc0100000",
        "monitor events",
        "monitor store /local/domain/1/console",
        "monitor nonsense",
        "continue",
    )
    assert "monitor frame      MFN" in text
    assert re.search(r"d1 paging: \d+ pages, alive  <- this one\n  thread 1: vcpu 0, ring 1", text)
    assert re.search(r"=> c0100000: .* <main\+0x0> paging.S:\d+", text)
    assert re.search(r"l1 entry 0x\w+ at 0x\w+: W", text)
    assert re.search(r"0xc0100000 is in mfn 0x\w+ \(d1's, writable_page", text)
    assert re.search(r"port 2: connected to port \d+ of d0, to vcpu 0", text)
    assert 'type = "xenconsoled"' in text
    assert "there is no nonsense" in text
    assert guest.end()[0] == 0
