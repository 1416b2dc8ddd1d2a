"""The target description: which registers there are, and what is in them, as XML for a debugger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.debug.registers import CORE, SSE, SYSTEM

if TYPE_CHECKING:
    from paravane.debug.registers import Register


def _flags_type(name: str, fields: str) -> str:
    """A type of single bits, given as `CF=0 PF=2`."""
    bits = (field.split("=") for field in fields.split())
    shown = "".join(f'<field name="{bit}" start="{at}" end="{at}"/>' for bit, at in bits)
    return f'<flags id="{name}" size="4">{shown}</flags>'


_EFLAGS_TYPE: Final = _flags_type(
    "i386_eflags",
    "CF=0 PF=2 AF=4 ZF=6 SF=7 TF=8 IF=9 DF=10 OF=11 NT=14 RF=16 VM=17 AC=18 VIF=19 VIP=20 ID=21",
)
_MXCSR_TYPE: Final = _flags_type(
    "i386_mxcsr", "IE=0 DE=1 ZE=2 OE=3 UE=4 PE=5 DAZ=6 IM=7 DM=8 ZM=9 OM=10 UM=11 PM=12 FZ=15"
)
# As GDB's own description has them: a name in the union, the type's name, of what, and how many.
_VECTORS: Final = (
    ("v4_float", "v4f", "ieee_single", 4),
    ("v2_double", "v2d", "ieee_double", 2),
    ("v16_int8", "v16i8", "int8", 16),
    ("v8_int16", "v8i16", "int16", 8),
    ("v4_int32", "v4i32", "int32", 4),
    ("v2_int64", "v2i64", "int64", 2),
)
_VECTOR_TYPE: Final = (
    "".join(f'<vector id="{name}" type="{kind}" count="{count}"/>' for _, name, kind, count in _VECTORS)
    + '<union id="vec128">'
    + "".join(f'<field name="{field}" type="{name}"/>' for field, name, _, _ in _VECTORS)
    + '<field name="uint128" type="uint128"/></union>'
)


def _register(register: Register) -> str:
    group = f' group="{register.group}"' if register.group else ""
    return f'<reg name="{register.name}" bitsize="{register.bits}" type="{register.kind}"{group}/>'


def _feature(name: str, types: str, registers: tuple[Register, ...]) -> str:
    return f'<feature name="{name}">{types}{"".join(_register(one) for one in registers)}</feature>'


TARGET_XML: Final = (
    '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target version="1.0">'
    "<architecture>i386</architecture>"
    + _feature("org.gnu.gdb.i386.core", _EFLAGS_TYPE, CORE)
    + _feature("org.gnu.gdb.i386.sse", _VECTOR_TYPE + _MXCSR_TYPE, SSE)
    + _feature("org.paravane.system", "", SYSTEM)
    + "</target>"
)
"""The target description that a debugger reads."""
