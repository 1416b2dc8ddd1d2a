"""Lines of many domains on one output."""

from __future__ import annotations

from paravane.tools.consoles import LONGEST_LINE, PrefixedLines


def lines(*written: tuple[str, bytes], colour: bool = False) -> list[str]:
    out = bytearray()
    prefixed = PrefixedLines(["a", "long"], out.extend, colour=colour)
    for name, data in written:
        prefixed.write(name, data)
    prefixed.flush()
    return out.decode().splitlines()


def test_lines_are_whole_whatever_pieces_they_come_in() -> None:
    assert lines(("a", b"o"), ("long", b"x\n"), ("a", b"ne\ntwo\nth"), ("long", b"y\n"), ("a", b"ree")) == [
        "long | x",
        "a    | one",
        "a    | two",
        "long | y",
        "a    | three",
    ]


def test_names_have_colours_on_a_terminal() -> None:
    assert lines(("a", b"x\n"), ("long", b"y\n"), colour=True) == [
        "\x1b[36ma    |\x1b[0m x",
        "\x1b[33mlong |\x1b[0m y",
    ]


def test_what_a_domain_prints_commands_no_terminal() -> None:
    assert lines(("a", b"\x1b[2J\x07\r\n\tx\r\n"), ("a", b"\xff\xc3\xa9\n")) == [
        r"a    | \x1b[2J\x07",
        "a    |         x",
        "a    | \\xffé",
    ]


def test_a_line_without_an_end_is_put_out_in_pieces() -> None:
    found = lines(("a", b"x" * (2 * LONGEST_LINE + 1)))
    assert [len(line) - len("a    | ") for line in found] == [LONGEST_LINE, LONGEST_LINE, 1]


def test_a_line_may_be_empty() -> None:
    assert lines(("a", b"\n\nx\n")) == ["a    | ", "a    | ", "a    | x"]
