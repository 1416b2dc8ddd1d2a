"""Texts with gaps, differences shown line by line, and expectations written anew."""

from __future__ import annotations

import random

import pytest

from paravane.testing import like
from paravane.testing.expectation import Expected, renewed
from paravane.testing.matching import Exactly, aligned, difference
from paravane.testing.verdict import Verdict, told


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ("a\n", "a\n"),
        ("a\n...\nd\n", "a\nb\nc\nd\n"),
        ("a\n...\nd\n", "a\nd\n"),
        ("...\nb\n...\nb\n", "b\nx\nb\nb\n"),
        ("...", ""),
        ("...", "a\nb"),
        ("at 0x..., ring ...\n", "at 0xc0100000, ring 1\n"),
        ("a...b...c", "a-b-b-c"),
        ("a\n......\n", "a\nanything\n"),
    ],
)
def test_a_text_with_gaps_is_like(wanted: str, got: str) -> None:
    assert got == like(wanted)
    assert like(wanted) == got
    assert difference(like(wanted), got) == []


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ("a\n", "a"),
        ("a\n...\nd\n", "a\nb\nc\n"),
        ("a...a", "a"),
        ("a...b...c", "a-c-b"),
        ("...\nb\n", "b\nc\n"),
        ("a\n...", "b\na\n"),
    ],
)
def test_what_a_text_with_gaps_is_not_like(wanted: str, got: str) -> None:
    assert got != like(wanted)
    assert difference(like(wanted), got) != []


def test_many_gaps_cost_no_more_than_the_lines_of_both() -> None:
    assert "\n".join(["a"] * 2000) + "\nb" != like("...\na\n" * 100 + "c")
    assert like("a..." * 200 + "c") != "a" * 20000 + "b"


def test_matching_and_difference_always_agree() -> None:
    chance = random.Random(4)
    for _ in range(2000):
        wanted = like("\n".join(chance.choices(["a", "b", "...", "a...b"], k=chance.randrange(6))))
        got = "\n".join(chance.choices(["a", "b", "ab", "axb"], k=chance.randrange(6)))
        assert (got == wanted) is (difference(wanted, got) == []), (wanted, got)


def test_a_difference_shows_what_is_around_it() -> None:
    want = "".join(f"line {number}\n" for number in range(20))
    got = want.replace("line 9\n", "").replace("line 12\n", "line \x1b[2J\n")
    assert difference(Exactly(want), got) == [
        "  (7 more that are right)",
        "  line 7",
        "  line 8",
        "- line 9",
        "  line 10",
        "  line 11",
        "- line 12",
        "+ line \\x1b[2J",
        "  line 13",
        "  line 14",
        "  (5 more that are right)",
    ]


@pytest.mark.parametrize(
    ("wanted", "got", "shown"),
    [
        ("one\ntwo", "one\ntwo\n", ["  one", "  two", "+ (a newline at the end)"]),
        ("one\ntwo\n", "one\ntwo", ["  one", "  two", "- (a newline at the end)"]),
        ("one\ntwo\n", "one\n", ["  one", "- two"]),
        ("one\n", "one\n\ntwo\n", ["  one", "+ ", "+ two"]),
    ],
)
def test_a_newline_at_the_end_is_told_where_it_makes_the_difference(
    wanted: str, got: str, shown: list[str]
) -> None:
    assert difference(Exactly(wanted), got) == shown


def test_of_very_many_differences_the_first_are_shown() -> None:
    found = difference(Exactly("x\n" * 5000), "one\n")
    assert found == [*["- x"] * 200, "  (4801 more lines of differences)"]


def test_texts_too_long_to_be_aligned_are_compared_line_by_line() -> None:
    want = "\n".join(f"a{number}" for number in range(600))
    got = "\n".join(f"b{number}" for number in range(601))
    lines = list(aligned(Exactly(want), got))
    assert [line.wanted for line in lines] == [*want.split("\n"), None]
    assert [line.got for line in lines] == got.split("\n")


def test_all_lines_of_both_are_in_the_alignment() -> None:
    chance = random.Random(5)
    for _ in range(500):
        want, got = ("\n".join(chance.choices("abc", k=chance.randrange(1, 8))) for _ in range(2))
        lines = list(aligned(Exactly(want), got))
        assert "\n".join(line.wanted for line in lines if line.wanted is not None) == want
        assert "\n".join(line.got for line in lines if line.got is not None) == got


def test_a_pattern_stays_where_it_matches() -> None:
    before = Expected("hello\n~took [0-9]+ us\nold\n~[0-9]{9}\n")
    after = renewed(before, "hi\ntook 17 us\n~odd\nWORD\n")
    assert after == "hi\n~took [0-9]+ us\n~\\~odd\nWORD\n"
    assert difference(Expected(after), "hi\ntook 17 us\n~odd\nWORD\n") == []


def test_what_is_renewed_is_fulfilled() -> None:
    chance = random.Random(6)
    words = ["a", "b", "~a", "~[ab]", "~~b", "~(", ""]
    for _ in range(1000):
        before = Expected("\n".join(chance.choices(words[:5], k=chance.randrange(6))))
        console = "\n".join(chance.choices(words, k=chance.randrange(6)))
        assert difference(Expected(renewed(before, console)), console) == []


def test_a_bad_pattern_is_told() -> None:
    with pytest.raises(ValueError, match="line 2 is no regular expression: "):
        Expected("a\n~(\n")


def test_the_most_severe_verdict_counts() -> None:
    assert told("a\nTest result: SUCCESS\n") is Verdict.SUCCESS
    assert told("Test result: SUCCESS\nTest result: ERROR\r\n") is Verdict.ERROR
    assert told("Test result: FAILURE\nTest result: SKIP") is Verdict.FAILURE
    assert told("no Test result: SUCCESS\nTest result: FINE\n") is None
