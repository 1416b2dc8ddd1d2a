"""What a trace has of a control domain's requests: commands by name, with the fields of their structs."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from paravane import Kind, ShutdownReason
from paravane.abi.domctl import DomctlCmd
from paravane.abi.errno import Errno
from paravane.abi.sysctl import SysctlCmd
from paravane.trace import Header, entry_of
from paravane.trace.filters import parse
from paravane.trace.forms import FORMS
from paravane.trace.reader import read_trace
from tests.guests.test_control_domain import MEMORY, Requests, booted
from tests.guests.test_trace_messages import in_every_form

if TYPE_CHECKING:
    from paravane import BootResult
    from paravane.testing.plugin import Boot
    from paravane.trace import Entry

NOBODY = 9


def asked(result: BootResult, family: str) -> list[Entry]:
    entries = [entry_of(record) for record in result.records if record.kind is Kind.HYPERCALL]
    return [entry for entry in entries if entry.name.startswith(family)]


@pytest.fixture
def run(boot: Boot) -> BootResult:
    requests = Requests()
    requests.create(7, max_vcpus=2)
    requests.domctl(DomctlCmd.max_mem, 7, 64, 0)
    requests.domctl(DomctlCmd.getdomaininfo, 7)
    requests.domctl(DomctlCmd.unpausedomain, 7)
    requests.domctl(DomctlCmd.max_mem, NOBODY, 64, 0, expect=-Errno.ESRCH)
    requests.domctl(DomctlCmd.shadow_op, 7, expect=-Errno.ENOSYS)
    requests.sysctl(SysctlCmd.availheap, 0, 0, -1)
    requests.sysctl(SysctlCmd.debug_keys, expect=-Errno.ENOSYS)
    return booted(boot, requests, (Kind.HYPERCALL,))


def test_each_command_has_its_name_and_its_fields(run: BootResult) -> None:
    create, limit, info, unpause, refused, unknown = asked(run, "domctl")
    (heap, keys) = asked(run, "sysctl")
    assert [entry.name for entry in (create, limit, info, unpause)] == [
        "domctl.createdomain",
        "domctl.max_mem",
        "domctl.getdomaininfo",
        "domctl.unpausedomain",
    ]
    assert create.data["arguments"]["u_domctl"]["u"]["max_vcpus"] == 2
    head = {"cmd": "max_mem", "interface_version": 0x15, "domain": 7, "pad": [0, 0, 0]}
    assert limit.data["arguments"] == {"u_domctl": {**head, "u": {"max_memkb": 64}}}
    assert info.data["written"]["u"]["max_pages"] == 16
    assert unpause.data["arguments"] == {"u_domctl": {**head, "cmd": "unpausedomain"}}
    assert (refused.name, refused.data["errno"]) == ("domctl.max_mem", "ESRCH")
    assert refused.data["arguments"] == {"u_domctl": {**head, "domain": NOBODY, "u": {"max_memkb": 64}}}
    assert (unknown.name, unknown.data["errno"]) == ("domctl.shadow_op (10)", "ENOSYS")
    assert heap.name == "sysctl.availheap"
    assert heap.data["written"]["u"]["avail_bytes"] > 0
    assert keys.name == "sysctl.debug_keys (7)"


def test_a_line_of_text_has_them(run: BootResult) -> None:
    line = next(line for line in run.trace_lines() if "domctl.max_mem" in line)
    fields = "cmd=max_mem interface_version=0x15 domain=7 pad=[0 0 0] u={max_memkb=0x40}"
    assert f"domctl.max_mem(u_domctl={{{fields}}}) = 0" in line


def test_every_format_has_them_however_records_reach_it(run: BootResult) -> None:
    calls = [record for record in run.records if record.kind is Kind.HYPERCALL]
    in_every_form(calls)
    for form in ("json", "perfetto"):
        writer = FORMS[form].writer()
        data = writer.begin(Header("virtual")) + b"".join(writer.entry(entry_of(record)) for record in calls)
        assert list(read_trace(BytesIO(data))) == [entry_of(record) for record in calls]


def test_a_file_of_xentrace_has_the_one_register_that_they_have(run: BootResult) -> None:
    writer = FORMS["xentrace"].writer()
    entries = asked(run, "domctl.max_mem")
    data = writer.begin(Header("virtual")) + b"".join(map(writer.entry, entries))
    found = [entry for entry in read_trace(BytesIO(data)) if entry.kind == "hypercall"]
    assert [(entry.name, entry.data["arguments"]) for entry in found] == [
        ("domctl", {"arg0": entry.data["words"][0]}) for entry in entries
    ]


def test_a_filter_takes_one_command_or_all(boot: Boot) -> None:
    requests = Requests()
    requests.domctl(DomctlCmd.max_mem, 0, 64, 0)
    requests.domctl(DomctlCmd.getdomaininfo, 0)
    kernel = requests.kernel()
    for text, expected in (
        ("hypercall:domctl.max_mem", ["domctl.max_mem"]),
        ("hypercall:domctl", ["domctl.max_mem", "domctl.getdomaininfo"]),
    ):
        result = boot(kernel, memory=MEMORY, privileged=True, trace=parse(text))
        assert result.reason is ShutdownReason.poweroff
        assert [record.name for record in result.records] == expected
