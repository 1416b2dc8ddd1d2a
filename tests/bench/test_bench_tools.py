"""What assembling and loading cost: a thousand lines from source, and Debian's GRUB from its file."""

from __future__ import annotations

from typing import Any

from paravane import asm
from paravane.asm.elf_writer import write_elf
from paravane.image import load_image
from tests.support.needs import GRUB, require

SOURCE = "_start:\n" + "\n".join(
    f"l{n}: movl $l{n}, {4 * n}(%ebx,%esi,4)\naddl ${n}, %eax\njne l{n // 2}" for n in range(350)
)


def test_assemble_a_thousand_lines(benchmark: Any) -> None:
    image = benchmark(lambda: write_elf(asm.assemble_text(SOURCE)))
    assert image[:4] == b"\x7fELF"


def test_load_grub(benchmark: Any) -> None:
    assert benchmark(load_image, require(GRUB).read_bytes()).guest_os == "GRUB"
