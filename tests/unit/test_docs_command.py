"""`paravane docs`: pages made of the table, the ABI and the code, and finding them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.abi.errno import Errno
from paravane.hypercalls.declaration import Declaration
from paravane.hypercalls.table import declared, names
from paravane.tools.cli import main
from paravane.tools.docs import page, source
from paravane.tools.docs.refusals import Reach
from paravane.tools.docs.source import of_hypervisor
from paravane.tools.docs.structs import describe, layouts

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(("docs", *arguments)) == 0
    return capsys.readouterr().out


def test_the_list_has_every_hypercall_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert {line.split()[0] for line in said(capsys).splitlines()} == names()


def test_a_page_tells_arguments_structs_refusals_and_users(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "mmu_update")
    assert (
        "  EBX  ureqs         address of an array of struct mmu_update; the next argument counts them\n"
        in text
    )
    assert "struct mmu_update, 16 bytes\n  `ptr`: machine address of the entry; its bits 0-1 are " in text
    assert "\n      0  uint64                    ptr\n" in text
    assert "  ESRCH       there is no domain <domid>\n" in text
    assert "paging.inc of the runtime, which attack, " in text


def test_structs_that_the_code_reads_by_itself_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert "struct gnttab_setup_table, " in said(capsys, "grant_table_op.setup_table")


def test_numbers_of_a_field_are_spelt_as_in_sources(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "mmuext_op")
    assert "MMUEXT_PIN_L3_TABLE 0x2" in text
    # A name and its number stay on one line.
    assert all(line.split()[-1].strip(",").startswith("0x") for line in text.splitlines() if "MMUEXT" in line)


@pytest.mark.parametrize(
    "asked", ["sched_op.poll", "SCHEDOP_poll"], ids=["as traces have it", "as sources have it"]
)
def test_a_command_has_a_page(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, asked)
    assert text.startswith("sched_op.poll: SCHEDOP_poll (3) of hypercall 29\n")
    assert "  EBX  SCHEDOP_poll\n  ECX  arg           address of a struct sched_poll\n" in text
    assert "unix: sched.S" in text


@pytest.mark.parametrize("asked", ["sched_op", "29", "__HYPERVISOR_sched_op"])
def test_a_hypercall_with_commands_lists_them(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, asked)
    assert text.startswith("sched_op: hypercall 29, with a command in EBX\n")
    assert "    3  SCHEDOP_poll(arg)\n" in text


def test_a_struct_has_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "start_info")
    assert text.startswith("struct start_info, 1112 bytes\n  `shared_info` is a machine address; ")
    assert "\n      0  char[32]                  magic\n" in text
    assert "\n     52  union                     console\n         domU, dom0\n" in text
    assert "`" not in said(capsys, "grant_entry_header")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("mmu_updat", "did you mean `mmu_update`"),
        ("alloc_unbound", "`event_channel_op.alloc_unbound`"),
        ("start_inf", "`start_info`"),
        ("weather", "`paravane docs` shows the hypercalls"),
    ],
)
def test_an_unknown_name_is_answered_with_what_is_near(
    asked: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(("docs", asked)) == 2
    errors = capsys.readouterr().err
    assert meant in errors
    assert errors.count("\n") == 1


def test_everything_that_can_be_asked_for_has_a_page() -> None:
    for asked in (*page.spellings().values(), *layouts()):
        assert asked in page.names() or asked in layouts()
    for layout in layouts().values():
        assert len(list(describe(layout))) > len(layout.fields)


def test_refusals_are_followed_through_properties_tables_and_owners() -> None:
    """From the hypercall through the caller's owners, a table of actions and a check that is handed on."""
    known = of_hypervisor()
    mmuext, debugreg = declared()[26], declared()[8]
    assert isinstance(mmuext, Declaration)
    assert isinstance(debugreg, Declaration)
    reach = Reach(known, mmuext.function)
    assert Errno.EOPNOTSUPP in reach.refusals
    assert "there is no domain <domid>" in reach.refusals[Errno.ESRCH]
    assert ("paravane.abi.mmu", "MMUEXT_OP") in reach.constants
    assert Errno.ENODEV in Reach(known, debugreg.function).refusals


def test_a_command_in_a_struct_has_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "XEN_DOMCTL_createdomain")
    assert text.startswith("domctl.createdomain: XEN_DOMCTL_createdomain (1) of hypercall 36\n")
    assert "  EBX  u_domctl      address of a struct xen_domctl, which is written back\n" in text
    assert "struct xen_domctl, 144 bytes\n" in text
    assert "struct xen_domctl_createdomain, 64 bytes\n" in text
    assert "  EPERM       domctl <cmd> is for the control domain\n" in text
    assert "used by\n  domain0: control.S\n" in text
    assert said(capsys, "domctl").startswith(
        "domctl: hypercall 36, with a command in a struct that EBX points to\n"
    )


def test_the_hypervisor_is_read_once_for_all_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    of_hypervisor.cache_clear()
    read: list[str] = []
    modules = source._modules

    def noted() -> Iterator[tuple[str, ast.Module]]:
        for module, tree in modules():
            read.append(module)
            yield module, tree

    monkeypatch.setattr(source, "_modules", noted)
    for asked in ("set_gdt", "update_descriptor"):
        assert len(list(page.page(asked))) > 3
    assert len(read) == len(set(read)) > 100
