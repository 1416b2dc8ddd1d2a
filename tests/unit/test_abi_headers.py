"""Every declaration in hypervisor/abi against the C headers, as an x86_32 compiler sees them."""

from __future__ import annotations

import pkgutil
import re
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest

import paravane.abi
from paravane import x86
from paravane.abi import arch, catalog, elfnote, event_channel, tlb, xs_wire
from paravane.abi.blkif import BLKIF_FEATURES
from paravane.abi.errno import Errno
from paravane.abi.layout import Array, Layout, Scalar, Union
from paravane.abi.names import C_NAMES
from tests.unit.abi_headers import CHeaders, header_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from paravane.abi.layout import Kind
    from tests.unit.abi_headers import CType

# C type (and size expression, where it is not the type's) of layouts that are no plain `struct NAME`.
C_TYPES = {
    "sring": "struct blkif_sring",
    "sring.pvt.netif": "__typeof__(((struct blkif_sring *)0)->pvt.netif)",
    "sring.pvt.tapif_user": "__typeof__(((struct blkif_sring *)0)->pvt.tapif_user)",
    "grant_entry_v2": "union grant_entry_v2",
}
C_SIZES = {"sring": "offsetof(struct blkif_sring, ring)"}

# Arrays of variable length after a struct, no part of its size as we count it.
TRAILING_ARRAYS = {"buf", "ring"}

# Declared as its raw bytes; its views are layouts of their own.
OPAQUE = {"union grant_entry_v2"}

# Constants whose C name is no macro. The literals restate prose: TI_GET_DPL/TI_GET_IF in arch-x86/xen.h, the
# hypercall page as Xen fills it, the length of `int n`, the sector unit in io/blkif.h.
C_CONSTANTS = {
    "TI_DPL_MASK": "3",
    "TI_IF": "4",
    "HYPERCALL_VECTOR": "0x82",
    "HYPERCALL_PAGE_ENTRY_SIZE": "32",
    "HYPERCALL_PAGE_ENTRIES": "4096 / 32",
    "ENTRY_PUSH_EAX": "0x50",
    "ENTRY_MOV_EAX": "0xb8",
    "ENTRY_INT": "0xcd",
    "ENTRY_RET": "0xc3",
    "PAGE_SHIFT": "XEN_PAGE_SHIFT",
    "PAGE_SIZE": "1 << XEN_PAGE_SHIFT",
    "KERNEL_RING": "FLAT_RING1_CS & 3",
    "APPLICATION_RING": "FLAT_RING3_CS & 3",
    "INT_LENGTH": "2",
    "FXSAVE_SIZE": "sizeof(((struct vcpu_guest_context *)0)->fpu_ctxt)",
    "XEN_COMMANDLINE_LEN": "sizeof(xen_commandline_t)",
    "XEN_DOMAIN_HANDLE_LEN": "sizeof(xen_domain_handle_t)",
    "XENCONS_IN_SIZE": "sizeof(((struct xencons_interface *)0)->in)",
    "XENCONS_OUT_SIZE": "sizeof(((struct xencons_interface *)0)->out)",
    "BLKIF_SECTOR_SIZE": "512",
    "BLKIF_RING_ENTRY_SIZE": "sizeof(union blkif_sring_entry)",
    "NETIF_TX_RING_ENTRY_SIZE": "sizeof(union netif_tx_sring_entry)",
    "NETIF_RX_RING_ENTRY_SIZE": "sizeof(union netif_rx_sring_entry)",
}

# Strings that no header defines as a macro, restated from the image formats' documentation.
STRINGS = {
    "MAGIC_PAE": "xen-3.0-x86_32p",
    "MAGIC_TWO_LEVEL": "xen-3.0-x86_32",
    "GUEST_SECTION": "__xen_guest",
}

# Families of which every number must be declared: prefix -> what the pattern leaves out on purpose.
COMPLETE_FAMILIES = {
    r"__HYPERVISOR_[a-z]\w*": (),
    r"MMU_\w+": (),
    r"MMUEXT_\w+": (),
    r"UVMF_\w+": (),
    r"VMASST_(CMD|TYPE)_\w+": (),
    r"DOMID_\w+": (),
    r"SIF_\w+": (),
    r"VIRQ_\w+": (),
    r"EVTCHNOP_\w+": (),
    r"EVTCHNSTAT_\w+": (),
    r"EVTCHN_FIFO_[A-Z]+_?\w*": (),
    r"GNTTABOP_\w+": ("GNTTABOP_error_msgs",),
    r"GNTST_\w+": (),
    r"GTF_\w+": (),
    r"GNTMAP_\w+": (),
    r"SCHEDOP_\w+": (),
    r"SHUTDOWN_\w+": (),
    r"VCPUOP_\w+": (),
    r"RUNSTATE_\w+": (),
    r"VGCF_\w+": (),
    r"XENVER_\w+": (),
    r"XENFEAT_\w+": (),
    r"XEN_ELFNOTE_\w+": (),
    r"XENMEM_(?!(paging|access|sharing|resource_ioreq|resource_grant_table_id)_)[a-z]\w+": (),
    r"XENMAPSPACE_\w+": (),
    r"PHYSDEVOP_[a-z]\w+": ("PHYSDEVOP_pirq_eoi_gmfn",),
    r"CALLBACK(OP|TYPE|F)_\w+": (),
    r"CONSOLEIO_\w+": (),
    r"XENNMI_\w+": (),
    r"XENPMU_[a-z]\w+": (),
    r"BLKIF_(OP|RSP)_\w+": (),
    r"NETTXF_\w+": (),
    r"NETRXF_\w+": (),
    r"NETIF_RSP_\w+": (),
    r"XENFB_TYPE_\w+": (),
    r"XENKBD_TYPE_\w+": (),
    r"FLAT_\w+": (),
    r"XENSTORE_\w+": (),
    r"XEN_DOMINF_\w+": (),
    r"XEN_SCHEDULER_\w+": (),
    r"TRC_SCHED_(?!(ID|EVT)_)[A-Z]+_\w+": (),
    r"TRC_(DOM0_DOM|MEM)_\w+": (),
    r"TRC_PV_(?!HYPERCALL_V2_ARG)[A-Z]+_\w+": (),
}


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> CHeaders:
    return CHeaders(tmp_path_factory.mktemp("headers"))


OF_XEN = tuple(module for module in catalog.MODULES if module is not tlb)
"""The modules whose contents Xen declares. The hypercall of `tlb` is our own."""


def all_layouts() -> dict[str, Layout[Any]]:
    return {name: layout for module in OF_XEN for name, layout in catalog.layouts(module).items()}


def all_constants() -> dict[str, int]:
    return {name: value for module in OF_XEN for name, value in catalog.constants(module).items()}


def all_numbers() -> dict[str, int]:
    """C expression -> value, of every member of every number set and every constant."""
    found = {C_CONSTANTS.get(name, name): value for name, value in all_constants().items()}
    for module in OF_XEN:
        for numbers in catalog.number_sets(module):
            names = C_NAMES[numbers]
            for member, value in numbers.__members__.items():
                found[names.c_expression(member)] = int(value)
    return found


def c_type(name: str) -> str:
    if name in C_TYPES:
        return C_TYPES[name]
    head, _, member = name.partition(".")
    outer = "union" if head in {"grant_entry_v2"} else "struct"
    return f"__typeof__((({outer} {head} *)0)->{member})" if member else f"struct {name}"


def designators(layout: Layout[Any]) -> Iterator[tuple[str, str]]:
    """(key in `offsets`, C designator) of every field at every depth."""
    for item in layout.fields:
        yield item.name, item.c_name
        yield from nested(item.name, item.c_name, item.kind)


def nested(key: str, designator: str, kind: Kind) -> Iterator[tuple[str, str]]:
    if isinstance(kind, Array):
        yield from nested(key, designator + "[0]", kind.element)
    elif isinstance(kind, Layout):
        for inner_key, inner in designators(kind):
            yield f"{key}.{inner_key}", f"{designator}.{inner}"
    elif isinstance(kind, Union):
        for member, member_kind in kind.members.items():
            yield f"{key}.{member}", f"{designator}.{member}"
            yield from nested(f"{key}.{member}", f"{designator}.{member}", member_kind)


def compare(kind: Kind, c_type: CType, path: str) -> Iterator[str]:
    """Member names of a declaration and of its C counterpart, at every depth."""
    if isinstance(kind, Array):
        yield from compare(kind.element, c_type, path)
    inner: dict[str, Kind] = {}
    if isinstance(kind, Layout):
        inner = {item.c_name: item.kind for item in kind.fields}
    elif isinstance(kind, Union):
        inner = kind.members
    else:
        return
    members = {name: member for name, member in c_type.members().items() if name not in TRAILING_ARRAYS}
    if set(inner) != set(members) and path not in OPAQUE:
        yield f"{path}: declared {sorted(inner)}, header {sorted(members)}"
    for name in set(inner) & set(members):
        yield from compare(inner[name], members[name], f"{path}.{name}")


def differences(headers: CHeaders, expected: dict[str, int]) -> list[str]:
    actual = headers.evaluate(list(expected))
    pairs = zip(expected.items(), actual, strict=True)
    return [
        f"{expression}: declared {value:#x}, header {found:#x}"
        for (expression, value), found in pairs
        if (value - found) % 2**64
    ]


def test_every_module_of_the_abi_is_in_the_catalog() -> None:
    tools = {"catalog", "layout", "names", "parameters"}
    modules = {module.name for module in pkgutil.iter_modules(paravane.abi.__path__)} - tools
    assert modules | {"x86"} == {module.__name__.rpartition(".")[2] for module in catalog.MODULES}


@pytest.mark.parametrize("module", catalog.MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_public_name_is_of_a_kind_that_is_checked(module: ModuleType) -> None:
    checked_by_hand = {"XEN_EMULATE_PREFIX", "NOTE_NAME", "LEGACY_KEYS", "XSD_ERRORS", "BLKIF_FEATURES"}
    checked_by_hand |= {"VECTORS_WITH_ERROR_CODE"}
    declared = {name for name, _ in catalog.declarations(module)} | checked_by_hand
    imported = {"Annotated", "Any", "Final", "Mapping", "MappingProxyType", "NamedTuple", "IntEnum", "Layout"}
    unchecked = [
        name
        for name, value in vars(module).items()
        if name[0].isupper()
        and name not in declared | imported
        and not (isinstance(value, type) and issubclass(value, (tuple, Enum)))  # checked through its Layout
        and not hasattr(value, "__metadata__")  # a field type
        and getattr(value, "__module__", "") != "paravane.abi.layout"
    ]
    assert unchecked == []


def test_every_struct_tuple_has_a_layout() -> None:
    laid_out = {layout.type for layout in all_layouts().values()}
    tuples = {
        value
        for module in OF_XEN
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, tuple) and value.__module__ == module.__name__
    }
    assert tuples == laid_out


def test_struct_names_are_unique() -> None:
    assert len(all_layouts()) == sum(len(catalog.layouts(module)) for module in OF_XEN)


def test_struct_sizes_equal_the_headers(headers: CHeaders) -> None:
    expected = {
        C_SIZES.get(name, f"sizeof({c_type(name)})"): layout.size for name, layout in all_layouts().items()
    }
    assert len(expected) > 100
    assert differences(headers, expected) == []


def test_field_offsets_equal_the_headers(headers: CHeaders) -> None:
    expected = {}
    for name, layout in all_layouts().items():
        pairs = dict(designators(layout))
        assert pairs.keys() == layout.offsets.keys(), name
        for key, designator in pairs.items():
            expected[f"offsetof({c_type(name)}, {designator})"] = layout.offsets[key]
    assert len(expected) > 600
    assert differences(headers, expected) == []


def test_field_sizes_equal_the_headers(headers: CHeaders) -> None:
    expected = {
        f"sizeof((({c_type(name)} *)0)->{item.c_name})": item.size
        for name, layout in all_layouts().items()
        for item in layout.fields
    }
    assert differences(headers, expected) == []


def test_field_signedness_equals_the_headers(headers: CHeaders) -> None:
    expressions = {
        f"SIGN_OF((({c_type(name)} *)0)->{item.c_name})": item.kind.code.islower()
        for name, layout in all_layouts().items()
        for item in layout.fields
        if isinstance(item.kind, Scalar)
    }
    signs = headers.evaluate(list(expressions))
    known = [(text, signed) for text, signed in zip(expressions, signs, strict=True) if signed >= 0]
    assert len(known) > 200
    assert [text for text, signed in known if bool(signed) != expressions[text]] == []


def test_struct_members_are_exactly_those_of_the_headers(headers: CHeaders) -> None:
    """Also catches a field that was left out where the struct has padding anyway."""
    layouts = {c_type(name): layout for name, layout in all_layouts().items()}
    with headers.types(list(layouts)) as types:
        found = [difference for name in layouts for difference in compare(layouts[name], types[name], name)]
    assert found == []


def test_numbers_equal_the_headers(headers: CHeaders) -> None:
    expected = all_numbers()
    assert len(expected) > 600
    assert differences(headers, expected) == []


def test_every_number_set_has_c_names() -> None:
    sets = {numbers for module in catalog.MODULES for numbers in catalog.number_sets(module)}
    assert sets == set(C_NAMES)


def test_odd_spellings_are_all_in_use() -> None:
    assert set(C_CONSTANTS) <= set(all_constants())
    assert set(C_TYPES) | set(C_SIZES) <= set(all_layouts())
    odd = [(numbers, member) for numbers, names in C_NAMES.items() for member in names.odd]
    assert [pair for pair in odd if pair[1] not in pair[0].__members__] == []


@pytest.mark.parametrize("pattern", COMPLETE_FAMILIES)
def test_no_number_of_a_family_is_missing(headers: CHeaders, pattern: str) -> None:
    declared = set(all_numbers()) | set(all_constants())
    family = [name for name, body in headers.macros().items() if re.fullmatch(pattern, name) and body]
    family = [name for name in family if "(" not in name and name not in COMPLETE_FAMILIES[pattern]]
    assert family
    assert sorted(set(family) - declared) == []


def test_no_errno_is_missing() -> None:
    text = (header_folder() / "errno.h").read_text()
    listed = dict(re.findall(r"^XEN_ERRNO\((\w+),\s*(\d+)\)", text, re.M))
    assert {name: int(value) for name, value in listed.items()} == {
        name: int(value) for name, value in Errno.__members__.items()
    }


def test_no_xenstore_message_type_is_missing() -> None:
    text = (header_folder() / "io/xs_wire.h").read_text()
    body = re.search(r"enum xsd_sockmsg_type\s*{(.*?)}", text, re.S)
    assert body is not None
    names = set(re.findall(r"\bXS_(\w+)", re.sub(r"/\*.*?\*/", "", body[1], flags=re.S)))
    assert names == set(xs_wire.XsMessage.__members__)


def test_xenstore_errors_are_those_of_the_wire_protocol() -> None:
    text = (header_folder() / "io/xs_wire.h").read_text()
    names = re.findall(r"XSD_ERROR\((E\w+)\)", text)
    assert names == [error.name for error in xs_wire.XSD_ERRORS]


def test_strings_equal_the_headers(headers: CHeaders) -> None:
    declared = {name: value for module in OF_XEN for name, value in catalog.strings(module).items()}
    assert declared == {name: STRINGS[name] if name in STRINGS else headers.text(name) for name in declared}
    assert set(STRINGS) <= set(declared)


def test_emulate_prefix_equals_the_header(headers: CHeaders) -> None:
    directive = headers.text("XEN_EMULATE_PREFIX")
    assert bytes(int(byte, 16) for byte in re.findall(r"0x(\w\w)", directive)) == arch.XEN_EMULATE_PREFIX


def test_legacy_keys_are_those_of_the_header() -> None:
    text = (header_folder() / "elfnote.h").read_text()
    documented = re.findall(r"LEGACY: (\w+).*?#define XEN_ELFNOTE_(\w+)", text, re.S)
    expected = {key: note for key, note in documented if note != "SUPPORTED_FEATURES"}
    assert {key: note.name for key, note in elfnote.LEGACY_KEYS.items()} == expected
    assert '"Xen" in the\n * name field' in text
    assert elfnote.NOTE_NAME == b"Xen\0"


def test_block_feature_nodes_are_documented_in_the_header() -> None:
    text = (header_folder() / "io/blkif.h").read_text()
    assert [node for node in BLKIF_FEATURES if not re.search(rf'(^ \* |"){node}\b', text, re.M)] == []


def test_cr3_format_is_the_header_macro(headers: CHeaders) -> None:
    for pfn in (0, 1, 0xFFFFF, 0x100000, 0x123456):
        cr3 = headers.evaluate([f"xen_pfn_to_cr3({pfn:#x})", f"xen_cr3_to_pfn(xen_pfn_to_cr3({pfn:#x}))"])
        assert [arch.xen_pfn_to_cr3(pfn), arch.xen_cr3_to_pfn(arch.xen_pfn_to_cr3(pfn))] == cr3
        assert cr3[1] == pfn


def test_vectors_with_an_error_code_are_those_of_the_manual() -> None:
    assert sorted(x86.VECTORS_WITH_ERROR_CODE) == [8, 10, 11, 12, 13, 14, 17]


def test_two_level_event_channels_fill_the_shared_bitmap() -> None:
    assert event_channel.EVTCHN_2L_NR_CHANNELS == 32 * 32
