"""Places in guest code: what the image tells of an address, and how little a domain remembers of it."""

from __future__ import annotations

import pytest

from paravane import asm, guest_kernels, load_image
from paravane import place as place_module
from paravane.image.lines import Lines
from paravane.place import Place, Places


@pytest.fixture(scope="module")
def places() -> Places:
    return Places(load_image(asm.build(guest_kernels.load("hello").sources)))


def test_an_instruction_has_a_symbol_and_a_line(places: Places) -> None:
    main = load_image(asm.build(guest_kernels.load("hello").sources)).symbols.address_of("main")
    assert main is not None
    here = places.at(main)
    assert (here.address, here.symbol, here.offset) == (main, "main", 0)
    assert here.file.endswith("hello.S")
    assert str(here) == f"{main:#010x} <main+0x0> hello.S:{here.line}"


def test_a_call_that_returns_to_the_next_function_belongs_to_its_own(places: Places) -> None:
    main = load_image(asm.build(guest_kernels.load("hello").sources)).symbols.address_of("main")
    assert main is not None
    before = places.before(main)
    assert before.address == main
    assert before.symbol != "main"


def test_an_address_that_is_nobodys_is_an_address(places: Places) -> None:
    assert places.at(0xFFFFFFFF) == Place(0xFFFFFFFF)
    assert str(places.before(0)) == "0x00000000"


def test_ever_new_addresses_cost_no_memory(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_module, "REMEMBERED", 8)
    for address in range(100):
        assert places.at(address).address == address
    assert len(places._known) <= 8


def test_a_file_is_named_without_the_folder_of_all_sources() -> None:
    files = ("/home/me/kernel/main.S", "/home/me/kernel/parts/../a.inc", "console.inc", "../b.inc")
    lines = Lines({address: (file, 1) for address, file in enumerate(files)})
    names = ["main.S", "parts/../a.inc", "console.inc", "../b.inc"]
    assert [lines.name_of(file) for file in files] == names
    assert [lines.file_of(name) for name in names] == list(files)


@pytest.mark.parametrize("files", [(), ("/main.S",), ("/home/a.S", "/root/b.S"), ("parts/main.S",)])
def test_files_that_have_no_folder_in_common_keep_their_names(files: tuple[str, ...]) -> None:
    lines = Lines({address: (file, 1) for address, file in enumerate(files)})
    assert [lines.name_of(file) for file in files] == list(files)
    assert lines.file_of("main.S") == "main.S"
