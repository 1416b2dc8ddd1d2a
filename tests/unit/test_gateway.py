"""The native gateway's library: what it is built from, whether it is the right one, and doing without it."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

from paravane import gateway
from paravane.cpu.engine import library
from paravane.gateway import header, native, structs

pytestmark = pytest.mark.both_modes

FOLDER = Path(gateway.__file__).parent


def test_the_committed_header_is_the_rendering() -> None:
    committed = (FOLDER / header.FILE).read_text()
    assert committed == header.render(), "run `python -m paravane.gateway.header hypervisor/gateway`"
    assert f"GATEWAY_MARK {header.mark():#010x}u" in committed


def test_every_structure_and_field_is_declared_once() -> None:
    text = header.render()
    for structure in structs.STRUCTURES:
        (body,) = re.findall(rf"struct gateway_{structure.__name__.lower()} \{{\n(.*?)\}};", text, re.DOTALL)
        declared = re.findall(r"(\w+)(?:\[\d+\])?;|\(\*(\w+)\)", body)
        assert [one or other for one, other in declared] == [field[0] for field in structure._fields_]


def test_the_mark_changes_with_a_number_and_with_a_field(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = {header.mark()}
    monkeypatch.setattr("paravane.gateway.header.TRAP_COST", 7)
    marks.add(header.mark())

    class Other(ctypes.Structure):
        _fields_ = (("more", ctypes.c_uint32),)

    monkeypatch.setattr(structs, "STRUCTURES", (*structs.STRUCTURES, Other))
    marks.add(header.mark())
    assert len(marks) == 3


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.SWITCH, "0")
    assert native.find() is None
    assert native.report() == f"native gateway: no: switched off by {native.SWITCH}"


def test_1_switches_on_what_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(native.SWITCH, raising=False)
    found = native.report()
    monkeypatch.setenv(native.SWITCH, "1")
    assert native.report() == found


@pytest.mark.parametrize("said", ["no", "true", " ", ".", "/nonexistent/native.so", "a\nb"])
def test_what_names_no_file_is_said_to(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv(native.SWITCH, said)
    assert native.find() is None
    why = f"{native.SWITCH} is {said!r}: neither 0, 1 nor a library's file"
    assert native.report() == f"native gateway: no: {why}"
    assert "\n" not in native.report()


@pytest.mark.parametrize("said", ["other.so", "./other.so"])
def test_a_path_may_be_relative(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str) -> None:
    (tmp_path / "other.so").write_bytes(b"no library")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(native.SWITCH, said)
    assert f"{tmp_path}/other.so: " in native.report(), "it was found there"


@pytest.mark.parametrize("content", [b"", b"\x7fELF no more"])
def test_what_is_no_library_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "other.so"
    path.write_bytes(content)
    monkeypatch.setenv(native.SWITCH, str(path))
    assert native.find() is None
    assert native.report().startswith("native gateway: no: other.so cannot be used: ")
    assert "\n" not in native.report()


def test_a_library_without_its_functions_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.SWITCH, library.PATH)
    assert native.find() is None
    assert "gateway_mark" in native.report()


def test_without_the_state_in_place_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(native.SWITCH, raising=False)
    monkeypatch.setattr(native, "find_state", lambda: None)
    assert native.report() == "native gateway: no: the engine's state is not seen in place"
