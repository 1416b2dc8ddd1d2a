"""Ten thousand damaged sources: each ends in a program or in an AssemblyError, soon, and in nothing else."""

from __future__ import annotations

import random
import re
from pathlib import Path

from paravane import asm, guest_kernels
from paravane.asm.program import SHT_NOBITS

CASES = 10_000
_INCLUDES = sorted(asm.INCLUDE_DIR.glob("*.inc"))
_TOKEN = re.compile(r"\s+|[A-Za-z_.$][\w.$]*|\d\w*|\"[^\"]*\"|.", re.DOTALL)
_SPLICES = (
    "$", "%", "(", ")", ",", "\"", "'", "\\", "*", "/*", "*/", ";", ":", "#", "\0", "\xff", "1b", "1f",
    "0x", "-", "<<", "9" * 40, "0x8000000000000000", "%eax", "%st(7)", "%cr0", "%xmm1", "(%esp,%esp,8)",
    "%fs:", "lock", "rep", "\\@", ".", "..", "\\()", "=", "==", "~!-" * 50, "(" * 200, "{", "}", "@",
    "\r", "\u2028", "movl", "foo", "\x7f",
)  # fmt: skip
_LINES = (
    ".macro again\nagain\nagain\n.endm\nagain", ".macro loop\nloop\n.endm\nloop", ".rept 1000000000",
    ".endr", ".endm", ".if 1", ".else", ".endif", ".elseif foo", ".skip 0x7fffffff", ".skip -1",
    ".org 0x7fffffff", ".org 0", ".fill 0x7fffffff, 8, 1", ".p2align 31", ".align 0x80000000",
    ".balign 3", ".space foo", ".set a, b\n.set b, a\n.long a", ".set a, a + 1\n.long a", "a = a",
    ".include \"xen.inc\"", ".include \"nothing\"", ".include \".\"",
    ".incbin \"xen.inc\", 5, 99999999", ".incbin \"/dev/zero\"", ".section .bss\n.long 5",
    ".section \"\"", ".section x,\"q\"", ".section .text,\"aw\"", ".popsection", ".previous", ".exitm",
    ".purgem foo", ".end", ".irp x,1,2,3", ".irpc y,abc\n.irpc z,abc\n.irpc w,abc", ".long 1/0",
    ".long 1<<99999999999", ".long -1>>-1", "1: jmp 1b\n.skip 1b - 2f\n2:", "x: .skip y - x + 1\ny:",
    ".comm huge, 0x7fffffff", ".comm c, 4, 3", ".octa 1" + "0" * 50, ".float 1e9999", ".float nan",
    ".ascii \"\\xg\\777\\", ".quad foo - bar", ".byte foo", "loop _start", "jecxz foo",
    "ljmp $foo, $foo", "call *%eax, %ebx", ".globl .Lx", ".weak _start", ".size _start, foo",
    ".type x, @bad", ".macro m a:vararg, b\n.endm", ".macro m a a\n.endm",
    ".macro q x\n.macro q\\x\n.endm\n.endm\nq 1\nq 2", ".altmacro", ".code16", "movl $foo, $bar",
    "enter $foo, $bar", "fs", "1" * 5000 + ":",
)  # fmt: skip


def _corpus() -> list[str]:
    sources = [path for name in guest_kernels.names() for path in guest_kernels.load(name).sources]
    texts = [path.read_text() for path in (*sources, *_INCLUDES)]
    forms = (Path(__file__).parents[1] / "unit" / "asm_corpus.txt").read_text().splitlines()
    texts += ["\n".join(["_start:", *forms[n : n + 30]]) for n in range(0, len(forms), 30)]
    # Pieces small enough that ten thousand of them fit into the time of a test, with an entry of their own.
    pieces = []
    for text in texts:
        lines = text.split("\n")
        pieces += ["\n".join(["_start:", *lines[n : n + 24]]) for n in range(0, len(lines), 24)]
    # One in ten includes thousands of lines, which nothing damages there, and takes as long as thirty others:
    # a hundred of those are enough.
    return [piece for piece in pieces for _ in range(1 if ".include" in piece else 10)]


def _mutate(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 4)):
        text = rng.choice((_flip, _swap, _delete, _double, _splice, _insert, _shuffle))(text, rng)
    return text


def _flip(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text) + 1)
    return text[:place] + chr(rng.choice((rng.randrange(128), rng.randrange(0x250)))) + text[place + 1 :]


def _swap(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return "\n".join(lines)


def _delete(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    del lines[rng.randrange(len(lines))]
    return "\n".join(lines)


def _double(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return "\n".join(lines)


def _splice(text: str, rng: random.Random) -> str:
    tokens = _TOKEN.findall(text) or [""]
    token = rng.choice((rng.choice(tokens), rng.choice(_SPLICES)))
    tokens[rng.randrange(len(tokens))] = token
    return "".join(tokens)


def _insert(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(_LINES))
    return "\n".join(lines)


def _shuffle(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    directives = [n for n, line in enumerate(lines) if line.lstrip().startswith(".")]
    order = directives[:]
    rng.shuffle(order)
    moved = [lines[n] for n in order]
    for n, line in zip(directives, moved, strict=True):
        lines[n] = line
    return "\n".join(lines)


def _check(text: str) -> bool:
    """Whether the text assembles; a program must be whole."""
    try:
        program = asm.assemble_text(text)
    except asm.AssemblyError as caught:
        refusal = caught
    else:
        _check_program(program)
        return True
    assert any(diagnostic.severity == "error" for diagnostic in refusal.diagnostics)
    assert str(refusal)
    return False


def _check_program(program: asm.Program) -> None:
    for section in program.sections:
        assert section.kind == SHT_NOBITS or len(section.data) == section.size
    for row in program.lines:
        assert row.size > 0


def test_damaged_sources_end_in_a_program_or_in_diagnostics() -> None:
    rng = random.Random(20261123)
    corpus = _corpus()
    assembled = 0
    for case in range(CASES):
        text = _mutate(rng.choice(corpus), rng)
        try:
            assembled += _check(text)
        except Exception as error:
            raise AssertionError(f"case {case} ends in {error!r}:\n{text}") from error
    assert CASES // 20 < assembled < CASES  # neither everything nor nothing is accepted
