"""Macro arguments: where one ends and which of its blanks stay, compared with GNU as text by text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane import asm
from tests.unit import asm_gnu

if TYPE_CHECKING:
    from pathlib import Path

# No text holds a string: it would end the one in which the macros below show it.
PLAIN = r"""
movl %eax, %fs
movl %fs:8 ( %ebp ) , %eax
movl $ 5 , -4 ( %eax , %ebx , 2 )
lock addl $1, 4(%eax,%ebx,2)
rep   movsb
jmp * %eax
jmp *table ( , %eax , 4 )
addl $ ( 1 << 3 ) | 1 , %eax
addl $(a + b) * 2, %eax
lcall $ 0x10 , $ entry
{ load } movl %eax , %ebx
a   b
a + b
a +b
a+ b
a - b
a -b
a- b
- - 1
-  1
a * b
a *b
a* b
a % b
a / b
a /b
a ( b )
( a ) b
a ) b
a [ b ] c
a] b
a { b } c
a} b
a $ b
$ 5
a . b
a _ b
a @ b
a ? b
a ! b
a & b
a | b
a ^ b
a ~ b
a < b > c
a : b
a: b
%fs : foo
4 5
a 5
5 a
é b
b é
a \\ b
a \\b
a ,b , c
a,, b
, a
a b,
(a b) c
(a b, c d) e
[a b] c
(a ] b) c
((a b) c) d e
'b' c
c 'b'
a 'b' c
a'b' c
'b
'b c
' ' b
',' b
'\n' b
'\\' b
'\'' b
(a 'b' d)
a /* c */ b
a/**/b
a /**/, b
a/**/ + b
/**/ a b
a b /* c */
a b # c
"""
STRINGS = r"""
"a  b"
"a  b" , "c + d"
"a  +  b" "c"
"a"   "b"
"a, b",c
"a \"  b"  , c
"a \\" , "b"
"# no /* comment */"
"'x'  y"
a "b   c" d
"b   c" + d
"" , a
"a"b
"""
SHOW = r"""
    .data
    .macro REST text:vararg
    .ascii "REST[\text]\n"
    .endm
    .macro PARTS a, b, c, d, e, f, g, h
    .ascii "PARTS[\a|\b|\c|\d|\e|\f|\g|\h]\n"
    .endm
    .macro NESTED text:vararg
    PARTS \text
    REST \text - \text
    REST a  \() \text : \@ \text
    .irp each, \text + 1
    .ascii "IRP[\each]\n"
    .endr
    .endm
"""
SHOW_STRINGS = r"""
    .data
    .macro PARTS a, b, c, d
    .ascii "\a|\b|\c|\d\n"
    .endm
    .macro WORDS text:vararg
    .ifc \text, \text
    .ascii "same\n"
    .endif
    .irp each, \text
    .ascii "[\each]"
    .endr
    .endm
"""


def _shown_by_gnu_as(source: str, folder: Path) -> bytes:
    path = folder / "arguments.S"
    path.write_text(source)
    return asm_gnu.link([path], asm.assemble_text(source), folder)[".data"]


def _shown(source: str) -> bytes:
    program = asm.assemble_text(source)
    return next(section.data for section in program.sections if section.name == ".data")


def _assert_same(prologue: str, uses: list[str], folder: Path) -> None:
    """Compares use by use; what none of them shows is no byte of any."""
    marked = "".join(f'    .ascii "\\0"\n{use}\n' for use in uses)
    source = f"_start: nop\n{prologue}{marked}"
    ours, theirs = _shown(source).split(b"\0")[1:], _shown_by_gnu_as(source, folder).split(b"\0")[1:]
    assert len(ours) == len(theirs) == len(uses)
    assert all(theirs), "a use shows nothing"
    different = [
        f"{use}: ours {a!r}, GNU {b!r}" for use, a, b in zip(uses, ours, theirs, strict=True) if a != b
    ]
    assert not different, "\n".join(different)


def _texts(table: str) -> list[str]:
    return table.strip("\n").split("\n")


@pytest.mark.parametrize("macro", ["REST", "PARTS", "NESTED"])
def test_arguments_have_the_blanks_gnu_as_leaves(macro: str, tmp_path: Path) -> None:
    texts = _texts(PLAIN)
    assert len(texts) > 80
    _assert_same(SHOW, [f"    {macro} {text}" for text in texts], tmp_path)


@pytest.mark.parametrize("form", ["{}", "x{}", "x:{}", "x,{}", "{} x", "{},x", "- {}\t+ x", "\t {}  ,\t x  "])
def test_what_stands_around_an_argument_decides_with_it(form: str, tmp_path: Path) -> None:
    texts = [text for text in _texts(PLAIN) if "#" not in text]
    _assert_same(SHOW, [f"PARTS {form.format(text)}" for text in texts], tmp_path)


def test_repeats_and_comparisons_have_the_blanks_gnu_as_leaves(tmp_path: Path) -> None:
    texts = [text for text in _texts(PLAIN) if "é" not in text]
    uses = [f'    .irp x, {text}\n    .ascii "[\\x]"\n    .endr' for text in texts]
    uses += [f'    .irpc x, {text}\n    .ascii "[\\x]"\n    .endr' for text in texts]
    uses += [
        f"    .ifc {text}, {text}\n    .byte 1\n    .else\n    .byte 2\n    .endif"
        for text in texts
        if "#" not in text
    ]
    uses += [
        f'    .irpc x, {text}\n    .ascii "[\\x]"\n    .endr' for text in ('"a b"', "", " ", '"a  , b" ')
    ]
    _assert_same(SHOW, uses, tmp_path)


def test_strings_in_arguments_stay_as_they_are(tmp_path: Path) -> None:
    texts = _texts(STRINGS)
    uses = [f"    {macro} {text}" for macro in ("PARTS", "WORDS") for text in texts]
    uses += [
        f"    .ifc {pair}\n    .byte 1\n    .else\n    .byte 2\n    .endif"
        for pair in ('x"a  b" c,x"a  b"  c', 'x"a  b" c, x"a b" c', '"a"  + b, "a"+b', '"a"  b, "a"b')
    ]
    _assert_same(SHOW_STRINGS, uses, tmp_path)


def test_defaults_have_the_blanks_gnu_as_leaves(tmp_path: Path) -> None:
    defaults = ["a + b", "(a - b)", "4( %eax )", '"a  b"', "a /**/ b", "'b' c", "%fs : foo"]
    uses = [
        f'    .macro M{n}{kind} x{qualifier} = {text}\n    .ascii "[\\x]"\n    .endm\n    M{n}{kind}'
        for n, text in enumerate(defaults)
        for kind, qualifier in (("plain", ""), ("rest", ":vararg"))
    ]
    _assert_same(SHOW, uses, tmp_path)


def test_a_body_loses_blanks_before_its_parameters_have_values(tmp_path: Path) -> None:
    lines = [
        r"REST \p\() b",
        r"REST L\@ b",
        r"REST a  \p",
        r"REST a + \p",
        r"REST \p  + b",
        r"REST (\p)  b",
        r"REST '\p' \() b",
        r"REST '\p  - \p",
        r"REST \p : \p\() d \@ c",
        r"\w  a + \p",
        r"\w\()  a + \p",
        r"\l\w  a \p",
        r"PARTS \p \p\()\p, \p",
    ]
    values = ["x", '"-1"', '"b c"', '"y +"', '"+ y"', '"(" ']
    uses = [
        f"    .macro T{n}_{m} p, w=REST, l=\n    {line}\n    .endm\n    T{n}_{m} {value}"
        for n, line in enumerate(lines)
        for m, value in enumerate(values)
    ]
    _assert_same(SHOW, uses, tmp_path)


def test_an_instruction_can_be_shown_as_a_string() -> None:
    source = '_start: nop\n.data\n.macro TRY text:vararg\n.ascii "\\text"\n.endm\nTRY movl\t%eax ,  %fs\n'
    assert _shown(source) == b"movl %eax,%fs"


@pytest.mark.parametrize(
    ("source", "place", "caret"),
    [
        ("m  a ,\t b  ,   c", "4:16", "m  a ,  b  ,   c\n" + " " * 19 + "^"),
        ("m  a /* x */ + b  c  /**/ , d", "4:29", None),
        ("m a  b  ,  d + e", "4:12", "m a  b  ,  d + e\n" + " " * 15 + "^~~~~"),
        ('m a  ,   "b', "4:10", None),
        ("m x =  1 ,  x  =  2", "4:13", None),
        ('.irp x,  a  ,  "b\n.endr', "4:16", None),
        (".ifc  a  b  \n.endif", "4:13", None),
        (".macro n a ,  a = 1\n.endm", "4:15", None),
    ],
)
def test_columns_are_those_of_the_source_whatever_blanks_go(
    source: str, place: str, caret: str | None
) -> None:
    with pytest.raises(asm.AssemblyError) as caught:
        asm.assemble_text(f".macro m x, y\nnop\n.endm\n{source}\n_start: nop\n", name="k.S")
    message = str(caught.value)
    assert message.startswith(f"k.S:{place}: error: ")
    assert caret is None or caret in message
