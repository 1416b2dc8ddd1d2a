"""The unix guest kernel: Debian's busybox, unmodified, and programs that try to break out of ring 3."""

from __future__ import annotations

import hashlib
import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from hypervisor import DomainConfig, Ending, Machine, load_image
from hypervisor.abi.sched import ShutdownReason
from tests.guests.harness import boot, paravane
from tests.guests.unix_archive import BUSYBOX, archive, entry, kernel, program, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.guests.harness import Outcome

SMALL = 8 << 20
FILES: dict[str, bytes | str] = {
    "etc/motd": b"one\ntwo\nthree\n",
    "etc/noise": bytes(index * 7 % 251 for index in range(70_000)),
    "etc/link": "motd",
}

# What a shell does, with a result that is the same on any machine. Each runs on the host's Linux too.
SCRIPTS = {
    "applets": "echo hello; cat etc/motd; md5sum etc/noise; ls etc | cat; wc etc/*; readlink etc/link",
    "loop and pipe": "echo hello | md5sum; for i in 1 2 3; do echo $i; done",
    "exit statuses": "(exit 3); echo $?; false; echo $?; nosuch 2>&-; echo $?; sh -c 'kill $$'; echo $?",
    "substitution": "echo $(echo $(echo $(echo deep))); x=`seq 1 200 | sort -rn | head -3`; echo $x",
    "text tools": "seq 1 500 | awk '{s+=$1} END {print s, s/3}'; sed 's/t/T/g' etc/motd | sort | tr a-z A-Z",
    "compression": "gzip < etc/noise | gunzip | cmp - etc/noise && echo same",
    "long pipeline": "cat etc/noise etc/noise | cat | cat | tail -c 90000 | head -c 80000 | md5sum",
    "early reader end": "yes | head -n 3; echo $?",
    "traps": "trap 'echo usr' USR1; kill -USR1 $$; trap 'echo bye' EXIT; sleep 5 & kill $!; wait $!; echo $?",
    "background jobs": "for i in 1 2 3 4; do (sleep 0.$i; echo $i) & done; wait; echo all",
    "descriptors": "exec 5<etc/motd; read a <&5; read b <&5; echo $b $a; { echo err >&2; } 2>&1 | tr e E",
    "directories": "cd etc; basename `pwd`; cd ..; test -d etc && test -f etc/motd && test ! -e x; echo $?",
    "here document": "cat <<END\n$((6 * 7))\nEND",
    "many short processes": "for i in `seq 1 60`; do true | cat; done; for i in 1 2 3; do true & done; wait",
}


def assert_clean(outcome: Outcome) -> None:
    """The domain powered off itself, and the hypervisor's books agree with the page tables."""
    assert outcome.ending is Ending.DONE, outcome.console
    assert outcome.reason is ShutdownReason.poweroff, outcome.crash_report
    assert outcome.audit == []


@pytest.fixture(scope="module")
def host_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive's files in a folder of the host."""
    root = tmp_path_factory.mktemp("root")
    (root / "etc").mkdir()
    for name, data in FILES.items():
        if isinstance(data, str):
            (root / name).symlink_to(data)
        else:
            (root / name).write_bytes(data)
    return root


@pytest.mark.parametrize("name", SCRIPTS)
def test_busybox_prints_what_it_prints_on_linux(name: str, host_root: Path) -> None:
    outcome = run("sh", "-c", SCRIPTS[name], files=FILES)
    host = subprocess.run(
        [BUSYBOX, "sh", "-c", SCRIPTS[name]],
        cwd=host_root,
        env={"PATH": "/bin", "HOME": "/"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=True,
    )
    assert_clean(outcome)
    assert outcome.console == host.stdout.decode()


def test_uname_names_linux_as_the_abi_and_this_kernel() -> None:
    outcome = run("uname", "-a")
    assert_clean(outcome)
    assert outcome.console == "Linux unix 5.4.0-paravane #1 guest kernel unix i686 GNU/Linux\n"


def test_status_of_the_first_program_is_printed_unless_it_is_zero() -> None:
    outcome = run("sh", "-c", "exit 3")
    assert_clean(outcome)
    assert outcome.console == "exit status 3\n"


def test_program_that_is_not_there_is_named() -> None:
    outcome = run("/bin/absent")
    assert_clean(outcome)
    assert outcome.console == "unix: cannot run /bin/absent: error 2\nexit status 127\n"


def test_script_is_run_by_the_program_it_names() -> None:
    files: dict[str, bytes | str] = {
        "bin/sh": "busybox",
        "etc/inner": b'#! /bin/sh -e\necho "$0" "$1" $#; false; echo unreachable\n',
        "etc/outer": b"#!/etc/inner a b  \n",
        "etc/loop": b"#!/etc/loop\n",
    }
    script = "/etc/outer 'x y'; echo $?; env /etc/loop; env /etc/inner"
    outcome = run("sh", "-c", script, files=files)
    assert_clean(outcome)
    assert outcome.console.splitlines() == [
        "/etc/inner a b 3",
        "1",
        "env: can't execute '/etc/loop': Too many levels of symbolic links",
        "/etc/inner  0",
        "exit status 1",
    ]


@pytest.mark.parametrize("text", [b"#!", b"#! \t", b"#!\n/bin/sh", b"#!" + b" " * 300 + b"/bin/sh\n"])
def test_script_that_names_no_program_is_refused(text: bytes) -> None:
    outcome = run("/bin/script", files={"bin/script": text}, with_busybox=False, memory=SMALL)
    assert_clean(outcome)
    assert outcome.console == "unix: cannot run /bin/script: error 8\nexit status 127\n"


def test_archive_cannot_be_changed() -> None:
    script = (
        "touch /x; rm -f /etc/motd; mkdir /y; echo > /etc/motd; echo > /z/x; cat /etc/motd; echo > /dev/null"
    )
    outcome = run("sh", "-c", script, files=FILES)
    assert_clean(outcome)
    lines = outcome.console.splitlines()
    assert [line.rpartition(": ")[2] for line in lines[:5]] == 4 * ["Read-only file system"] + [
        "nonexistent directory"
    ]
    assert lines[5:] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("echo a  b\tc", ["a", "b", "c"]),
        ("echo 'a  b' \"c 'd'\"", ["a  b", "c 'd'"]),
        ("echo 'it'\"'\"'s' a\\ b", ["it's", "a b"]),
        ('echo "a\\"b\\\\c\\d" \'\' x', ['a"b\\c\\d', "", "x"]),
        ("echo 'open", ["open"]),
    ],
)
def test_command_line_is_split_as_a_shell_would(line: str, words: list[str]) -> None:
    outcome = boot(kernel(), cmdline=line, ramdisk=archive({}))
    assert_clean(outcome)
    assert outcome.console == " ".join(words) + "\n"


def test_without_an_archive_it_says_what_it_wants() -> None:
    outcome = boot(kernel(), cmdline="echo")
    assert_clean(outcome)
    assert "--ramdisk" in outcome.console


def test_command_boots_it_with_a_ramdisk(tmp_path: Path) -> None:
    ramdisk = tmp_path / "archive.cpio"
    ramdisk.write_bytes(archive({}))
    script = 'echo "it\'s $1"'
    result = paravane("boot", "--ramdisk", str(ramdisk), "unix", "--", "sh", "-c", script, "sh", "a  b")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"it's a  b\n", b"")


@pytest.mark.parametrize(
    ("body", "signal", "vector"),
    [
        ("movl $0, 0", 11, 14),
        ("movl 0xC0100000, %eax", 11, 14),
        ("movl $1, _start", 11, 14),
        ("movb $0xC3, -64(%esp)\n leal -64(%esp), %eax\n call *%eax", 11, 14),
        ("hlt", 11, 13),
        ("movl $29, %eax\n int $0x82", 11, 13),
        ("inb $0x60, %al", 11, 13),
        ("movl $0x33, %eax\n movl %eax, %gs", 11, 13),
        ("ud2", 4, 6),
        ("xorl %ecx, %ecx\n divl %ecx", 8, 0),
        ("int3", 5, 3),
    ],
)
def test_fault_in_ring_3_ends_the_process_with_its_signal(body: str, signal: int, vector: int) -> None:
    outcome = run("/bin/bad", files={"bin/bad": program(body)}, with_busybox=False, memory=SMALL)
    assert_clean(outcome)
    first, last = outcome.console.splitlines()
    assert first.startswith(f"bad[1]: trap {vector} at ")
    assert last == f"exit status {128 + signal}"


def test_shell_goes_on_after_a_crash_of_its_child() -> None:
    outcome = run("sh", "-c", "/bin/bad; echo $?", files={"bin/bad": program("movl $0, 0")})
    assert_clean(outcome)
    assert outcome.console.splitlines()[1:] == ["Segmentation fault", "139"]


# Every system call that does not end, stop or endlessly fork the caller, with one value in all arguments.
_ALL_CALLS = """
    .equ ARGUMENT, {argument}
    movl $0, number
1:  incl number
    movl number, %eax
    cmpl $460, %eax
    je 3f
    movl $spared, %edi
    movl $(spared_end - spared) / 4, %ecx
    repne scasl
    je 1b
    .irp register, ebx, ecx, edx, esi, edi, ebp
    movl $ARGUMENT, %\\register
    .endr
    int $0x80
    jmp 1b
3:  movl $1, %ebx
    print "survived\\n"
    quit $0
    .section .rodata
    .balign 4
spared:
    .long 1, 2, 3, 29, 37, 90, 91, 119, 120, 125, 168, 173, 190, 192, 238, 252, 309, 414
spared_end:
    .bss
    .balign 4
number:
    .skip 4
buffer:
    .skip 8192
"""


@pytest.mark.parametrize("argument", ["0xC0101000", "0xFFFFFFF8", "0xBFFFFFFC", "0x10", "0", "-1", "buffer"])
def test_no_system_call_falls_over_bad_arguments(argument: str) -> None:
    files = {"bin/bad": program(_ALL_CALLS.format(argument=argument))}
    outcome = run("/bin/bad", files=files, with_busybox=False, memory=SMALL)
    assert_clean(outcome)
    lines = outcome.console.splitlines()
    assert lines[-1] == "survived"
    unsupported = [line for line in lines if line.endswith("is not supported")]
    assert len(unsupported) == len(set(unsupported)) > 100


_COPY_ON_WRITE = """
    movl $2, %eax
    int $0x80
    testl %eax, %eax
    jnz 1f
    movl $7, word                   # the child's own copy
    quit word
1:  movl $7, %eax
    movl $-1, %ebx
    movl $status, %ecx
    xorl %edx, %edx
    int $0x80
    cmpl $0x700, status
    jne 2f
    cmpl $1, word
    jne 2f
    print "copied\\n"
2:  quit $0
    .data
word:
    .long 1
status:
    .long 0
"""


def test_child_writes_to_its_own_copy() -> None:
    files = {"bin/cow": program(_COPY_ON_WRITE)}
    outcome = run("/bin/cow", files=files, with_busybox=False, memory=SMALL)
    assert_clean(outcome)
    assert outcome.console == "copied\n"


# Parent and child each keep a number of their own in x87 and SSE registers while they take turns.
_FPU = """
    movl $2, %eax
    int $0x80
    movl %eax, pid
    testl %eax, %eax
    setz %al
    movzbl %al, %eax
    leal 5(,%eax,4), %eax           # 5 and 9
    movl %eax, own
    fildl own
    movd %eax, %xmm3
    movl $50, %edi
1:  movl $158, %eax                 # sched_yield
    int $0x80
    decl %edi
    jnz 1b
    movd %xmm3, %eax
    cmpl own, %eax
    jne 2f
    fistpl seen
    cmpl seen, %eax
    jne 2f
    print "kept\\n"
2:  cmpl $0, pid
    je 3f
    movl $7, %eax
    movl $-1, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    int $0x80
3:  quit $0
    .bss
    .balign 4
pid:
    .skip 4
own:
    .skip 4
seen:
    .skip 4
"""


def test_fpu_and_sse_registers_follow_their_process() -> None:
    outcome = run("/bin/fpu", files={"bin/fpu": program(_FPU)}, with_busybox=False, memory=SMALL)
    assert_clean(outcome)
    assert outcome.console == "kept\nkept\n"
    traps = [record.body() for record in outcome.records]
    assert any("fpu_taskswitch" in text for text in traps)


# GS names a segment that is taken away before the process is switched away from and back to.
_LOST_SEGMENT = """
    movl $243, %eax                 # set_thread_area
    movl $segment, %ebx
    int $0x80
    movl segment, %eax
    leal 3(,%eax,8), %eax
    movl %eax, %gs
    movl %gs:0, %esi
    movl $0x28, flags
    movl $243, %eax
    int $0x80
    movl $2, %eax
    int $0x80
    movl $10, %edi
1:  movl $158, %eax
    int $0x80
    decl %edi
    jnz 1b
    cmpl magic, %esi
    jne 2f
    movl %gs, %eax
    testl %eax, %eax
    jnz 2f
    print "still here\\n"
2:  movl $7, %eax
    movl $-1, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    int $0x80
    quit $0
    .data
segment:
    .long -1, magic, 0xfffff
flags:
    .long 0x51
magic:
    .long 0x12345678
"""


def test_selector_without_its_segment_does_not_hurt_the_kernel() -> None:
    files = {"bin/tls": program(_LOST_SEGMENT)}
    outcome = run("/bin/tls", files=files, with_busybox=False, memory=SMALL)
    assert_clean(outcome)
    assert outcome.console == "still here\nstill here\n"


def test_process_that_wants_too_much_memory_is_killed_alone() -> None:
    hog = program("1: pushl %eax\n jmp 1b")
    script = "/bin/hog; echo $?; /bin/hog & /bin/hog & wait; echo alive"
    outcome = run("sh", "-c", script, files={"bin/hog": hog}, memory=12 << 20)
    assert_clean(outcome)
    lines = outcome.console.splitlines()
    assert lines[0] == "out of memory: killed hog"
    assert "137" in lines
    assert lines[-1] == "alive"


def test_too_many_processes_are_refused_and_the_rest_goes_on() -> None:
    script = "i=0; while [ $i -lt 70 ]; do sleep 1 & i=$((i+1)); done; echo unreachable"
    outcome = run("sh", "-c", f"(sh -c '{script}'); echo after; sleep 2; echo again | cat")
    assert_clean(outcome)
    assert "can't fork: Resource temporarily unavailable" in outcome.console
    assert outcome.console.endswith("after\nagain\n")


# Prints the free memory, in pages, before and after 30 children that ran a program.
_LEAK = """
    call one_child
    call free_pages                 # has its own page from now on
    call free_pages
    pushl %eax
    movl $30, %edi
1:  call one_child
    decl %edi
    jnz 1b
    call free_pages
    popl %ecx
    subl %eax, %ecx
    quit %ecx
free_pages:
    movl $116, %eax
    movl $information, %ebx
    int $0x80
    movl information + 20, %eax
    shrl $12, %eax
    ret
one_child:
    movl $2, %eax
    int $0x80
    testl %eax, %eax
    jz 1f
    movl $7, %eax
    movl $-1, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    int $0x80
    ret
1:  movl $11, %eax
    movl $path, %ebx
    movl $arguments, %ecx
    xorl %edx, %edx
    int $0x80
    quit $99
    .data
path:
    .asciz "/bin/busybox"
name:
    .asciz "true"
    .balign 4
arguments:
    .long name, 0
    .bss
    .balign 4
information:
    .skip 64
"""


def test_no_page_is_lost_by_fork_exec_and_exit() -> None:
    outcome = run("/bin/leak", files={"bin/leak": program(_LEAK)})
    assert_clean(outcome)
    assert outcome.console == ""


def test_large_transfer_through_pipes_arrives_whole() -> None:
    outcome = run("sh", "-c", "dd if=/dev/zero bs=5000 count=800 2>/dev/null | cat | cat | md5sum")
    assert_clean(outcome)
    assert outcome.console.split()[0] == hashlib.md5(bytes(4_000_000)).hexdigest()


def test_terminal_gives_lines_with_echo_and_ends_at_control_d() -> None:
    outcome = run("sh", "-c", "read line; echo got $line; cat", stdin=b"onx\x7fe\rtwo\n\x04")
    assert_clean(outcome)
    assert outcome.console == "onx\b \be\ntwo\ngot one\ntwo\n"


@pytest.mark.parametrize("work", ["while :; do :; done", "cat"])
def test_control_c_reaches_what_runs_in_the_foreground(work: str) -> None:
    script = f"trap 'echo caught; exit 0' INT; echo ready; {work}"
    config = DomainConfig(cmdline=shlex.join(["sh", "-c", script]), ramdisk=archive({}))
    with Machine(Machine.size_for(config.memory)) as machine:
        domain = machine.create(load_image(kernel()), config)
        for _ in range(100):
            machine.run(timeout=0.1)
            if b"ready" in domain.console_output():
                break
        domain.console.feed(b"\x03")
        assert machine.run(timeout=60) is Ending.DONE
        assert domain.reason is ShutdownReason.poweroff
        assert domain.console_output().decode().splitlines() == ["ready", "^C", "caught"]


def test_process_that_only_computes_does_not_keep_the_others_waiting() -> None:
    script = "(while :; do :; done) & spin=$!; sleep 0.2; echo slept; kill $spin; wait $spin; echo $?"
    outcome = run("sh", "-c", script)
    assert_clean(outcome)
    assert outcome.console == "slept\nTerminated\n143\n"


def test_interactive_shell_takes_commands_from_the_terminal() -> None:
    outcome = run("sh", stdin=b"echo $((40 + 2))\nexit\n")
    assert_clean(outcome)
    assert "\n42\n" in outcome.console.replace("\r\n", "\n")


@pytest.mark.parametrize("length", [0, 1, 109, 110, 150, 400, 5000])
def test_archive_that_ends_too_early_is_reported(length: int) -> None:
    whole = archive({"bin/true": program("quit $0")}, with_busybox=False)
    outcome = boot(kernel(), memory=SMALL, cmdline="true", ramdisk=whole[:length])
    assert_clean(outcome)
    assert re.search("damaged at byte|no file system", outcome.console)


@pytest.mark.parametrize(
    "damaged",
    [
        b"070701" + b"F" * 104 + bytes(4000),
        entry("bin/true", 0o100755, b"\x7fELF").replace(b"00000004", b"7FFFFFFF"),
        entry("a", 0o100644, b"x") + entry("a/b/c", 0o100755, b"y") + entry("TRAILER!!!", 0),
        entry("../../bin/true", 0o100755, b"y") + entry("dev", 0o100644, b"x") + entry("TRAILER!!!", 0),
        entry("bin/true", 0o120777, b"/bin/true") + entry("TRAILER!!!", 0),
        b"not an archive at all" * 10,
    ],
)
def test_hostile_archive_only_fails_to_provide_programs(damaged: bytes) -> None:
    outcome = boot(kernel(), memory=SMALL, cmdline="/bin/true", ramdisk=damaged)
    assert_clean(outcome)
    assert outcome.console.endswith("exit status 127\n")


def _patched(image: bytes, offset: int, value: int, size: int = 4) -> bytes:
    return image[:offset] + value.to_bytes(size, "little") + image[offset + size :]


@pytest.mark.parametrize(
    ("offset", "value", "size"),
    [
        (4, 2, 1),  # 64-bit
        (18, 62, 2),  # for another processor
        (28, 0xFFFFFFF0, 4),  # program headers outside the file
        (44, 200, 2),  # too many of them
        (52 + 4, 0x7FFFFFFF, 4),  # a segment outside the file
        (52 + 8, 0xC0100000, 4),  # a segment in the kernel
        (52 + 8, 0x00000000, 4),  # a segment at the null pointer
        (52 + 20, 0xFFFFFFFF, 4),  # a segment around the address space
        (52 + 0, 3, 4),  # a program that wants an interpreter
    ],
)
def test_program_with_bad_headers_is_refused(offset: int, value: int, size: int) -> None:
    bad = _patched(program("quit $0"), offset, value, size)
    outcome = run("/bin/bad", files={"bin/bad": bad}, with_busybox=False, memory=SMALL)
    assert_clean(outcome)
    assert outcome.console == "unix: cannot run /bin/bad: error 8\nexit status 127\n"


@pytest.mark.parametrize("seed", [1, 7, 99])
def test_result_does_not_depend_on_which_frames_the_domain_gets(seed: int) -> None:
    outcome = run("sh", "-c", "echo $(cat /etc/noise | md5sum)", files=FILES, seed=seed)
    assert_clean(outcome)
    noise = FILES["etc/noise"]
    assert isinstance(noise, bytes)
    assert outcome.console == f"{hashlib.md5(noise).hexdigest()} -\n"


@pytest.mark.parametrize("memory", [8, 70, 200])
def test_domains_of_any_size_have_all_their_memory(memory: int) -> None:
    outcome = run("sh", "-c", "free 2>/dev/null; echo ok", memory=memory << 20)
    assert_clean(outcome)
    assert outcome.console.endswith("ok\n")
