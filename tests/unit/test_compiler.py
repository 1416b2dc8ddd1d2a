"""Kernels in C, built by the GNU tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import boot, compiler
from paravane.abi import catalog
from paravane.compiler import CompilerError, NoCompiler
from tests.support.boot import HOST_TIMEOUT
from tests.support.needs import path_with

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

GREETS = """
#include <paravane.h>

const char *name(void);

int main(void)
{
    print("%s, %u of %d, %x, %c%%, %X, %s\\n", name(), 7, -7, 0xabc, 'c', 0x123456789ULL, (char *)0);
    print("magic: %s\\n", start_info->magic);
    int version = hypercall(__HYPERVISOR_xen_version, XENVER_version, 0);
    print("Xen %d.%d; a bad number: %d\\n", version >> 16, version & 0xffff, hypercall(60));
    print("bounds: %d\\n", BOUND);
    TEST_RESULT(SUCCESS);
    return 0;
}
"""


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this machine, or those that were fetched for the tests."""
    monkeypatch.setenv("PATH", path_with("gcc", "as", "ld"))


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """Two units: one in C, one in assembly."""
    first, second = tmp_path / "greet.c", tmp_path / "name.S"
    first.write_text(GREETS)
    second.write_text('.globl name\nname: movl $1f, %eax\nret\n.section .rodata\n1: .asciz "greetings"\n')
    return [first, second]


@pytest.mark.usefixtures("tools")
def test_units_in_c_and_assembly_are_one_kernel(sources: list[Path]) -> None:
    result = boot(sources, defines={"BOUND": 42}, timeout=HOST_TIMEOUT)
    assert result.ended("poweroff"), result.crash_report
    assert result.console == (
        "greetings, 7 of -7, 0x00000abc, c%, 0x0000000123456789, (null)\n"
        "magic: xen-3.0-x86_32p\nXen 4.17; a bad number: -38\nbounds: 42\nTest result: SUCCESS\n"
    )


@pytest.mark.usefixtures("tools")
def test_all_six_arguments_reach_the_hypercall(tmp_path: Path) -> None:
    source = tmp_path / "six.c"
    source.write_text("#include <paravane.h>\nint main(void) { return hypercall(55, 1, 2, 3, 4, 5, 6); }\n")
    result = boot(source, timeout=HOST_TIMEOUT)
    (call,) = [call for call in result.hypercalls() if call.record.number == 55]
    assert call.record.words == (1, 2, 3, 4, 5, 6)


@pytest.mark.usefixtures("tools")
def test_the_structs_are_those_of_the_abi(tmp_path: Path) -> None:
    """Every offset that assembly has is that of the field in C."""
    structs = {
        layout.name.upper(): layout
        for module in catalog.MODULES
        for layout in catalog.layouts(module).values()
        if "." not in layout.name
    }
    source = tmp_path / "offsets.c"
    lines = [
        f'_Static_assert(offsetof(struct {layout.name}, {field.c_name}) == {field.offset}, "{field.c_name}");'
        for layout in structs.values()
        for field in layout.fields
    ]
    assert len(lines) > 300
    source.write_text("\n".join(["#include <paravane.h>", *lines, "int main(void) { return 0; }\n"]))
    assert boot(source, timeout=HOST_TIMEOUT).ended()


@pytest.mark.usefixtures("tools")
def test_a_hypercall_takes_a_struct(tmp_path: Path) -> None:
    source = tmp_path / "update.c"
    source.write_text(
        "#include <paravane.h>\n"
        "static char page[4096] __attribute__((aligned(4096)));\n"
        "int main(void)\n{\n"
        "    struct mmu_update update = { .val = 5 };\n"
        "    update.ptr = (uint64_t)pfn_to_mfn(5) << 12 | MMU_MACHPHYS_UPDATE;\n"
        '    print("%d\\n", hypercall(__HYPERVISOR_mmu_update, &update, 1, 0, DOMID_SELF));\n'
        "    page[0] = 1;\n"
        "    hypercall(__HYPERVISOR_update_va_mapping, page, 0, 0, UVMF_INVLPG);\n"
        "    page[0] = 2;\n"
        "    return 0;\n}\n"
    )
    result = boot(source, timeout=HOST_TIMEOUT)
    assert (result.console, result.status) == ("0\n", 3)
    assert result.traps[14][0].error_code == 2


@pytest.mark.usefixtures("tools")
def test_what_compilers_take_for_granted_is_there(tmp_path: Path) -> None:
    source = tmp_path / "memory.c"
    source.write_text(
        "#include <paravane.h>\n"
        "struct big { char bytes[300]; } one, two;\n"
        "int main(void)\n{\n"
        '    char text[12] = "abcdefgh";\n'
        "    memset(&one, 'x', sizeof(one)); two = one;\n"
        "    memmove(text + 2, text, 6); print_string(text);\n"
        '    memmove(text, text + 2, 6); print(" %s %d %u\\n", text, memcmp("ab", "ac", 2), strlen(text));\n'
        "    print_char(two.bytes[299]);\n"
        "    return 0;\n}\n"
    )
    assert boot(source, timeout=HOST_TIMEOUT).console == "ababcdef abcdefef -1 8\nx"


@pytest.mark.usefixtures("tools")
def test_a_crash_in_c_names_its_line(tmp_path: Path) -> None:
    source = tmp_path / "crash.c"
    source.write_text("#include <paravane.h>\nint main(void)\n{\n*(volatile int *)16 = 1;\nreturn 0;\n}\n")
    result = boot(source, timeout=HOST_TIMEOUT)
    assert result.ended("crash")
    assert "crash.c:4" in result.crash_report


@pytest.mark.usefixtures("tools")
def test_the_compilers_words_are_told(tmp_path: Path) -> None:
    source = tmp_path / "wrong.c"
    source.write_text("int main(void) { return nothing; }\n")
    with pytest.raises(CompilerError, match=r"wrong\.c:1:\d+: error: .*nothing"):
        compiler.build([source])
    source.write_text("int nowhere(void); int main(void) { return nowhere(); }\n")
    with pytest.raises(CompilerError, match="undefined reference to `nowhere'"):
        compiler.build([source])


def test_a_missing_compiler_is_told(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCompiler, match="a kernel in C needs `as`, which is not on this machine"):
        boot(sources)


def test_a_missing_source_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        compiler.build([tmp_path / "gone.c"])
    with pytest.raises(ValueError, match="a kernel has at least one source"):
        boot([])
