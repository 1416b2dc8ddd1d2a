"""Consoles in a line of text, of ours and of xl's."""

from __future__ import annotations

import pytest

from paravane.devices.console import ExtraConsole, consoles_of, parse_channel, parse_console


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tcp:", "tcp: is followed by a port"),
        ("tcp:70000", "tcp: is followed by a port"),
        ("tcp:::1:5", "tcp: is followed by a port"),
        ("unix:", "no path after unix:"),
        ("file:\0", "no path after file:"),
        ("pty:1", "none of stdio, pty, tcp"),
        ("", "none of stdio, pty, tcp"),
        ("pty,log=", "which file is the log"),
    ],
)
def test_what_is_no_console_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as refused:
        parse_console(text)
    assert "\n" not in str(refused.value)


def test_consoles_are_numbered_in_their_order() -> None:
    stdio, pty, port = map(parse_console, ("stdio", "pty", "tcp:1"))
    assert consoles_of([]) == (None, ())
    first, extras = consoles_of([stdio, pty, port], [("agent", pty)])
    assert first == stdio
    assert extras == (ExtraConsole(1, pty), ExtraConsole(2, port), ExtraConsole(3, pty, "agent"))
    with pytest.raises(ValueError, match="cannot both be"):
        consoles_of([stdio, pty, parse_console("stdio,log=x")])
    with pytest.raises(ValueError, match="16 consoles at most"):
        consoles_of([pty] * 17)
    assert parse_console("file:a,log=b").files == ("a", "b")


def test_channels_are_those_of_xl() -> None:
    assert parse_channel("connection=pty, name=org.example.agent.1") == (
        "org.example.agent.1",
        parse_console("pty"),
    )
    assert parse_channel("name=a,connection=socket,path=/run/a") == ("a", parse_console("unix:/run/a"))
    for text, sentence in (
        ("connection=pty", "it has no name"),
        ("name=a", "connection is pty or socket"),
        ("name=a,connection=socket", "needs path=PATH"),
        ("name=a,connection=pty,backend=driver", "carried by domain 0"),
        ("name=a,speed=9600", "speed=9600 is no setting"),
    ):
        with pytest.raises(ValueError, match=sentence):
            parse_channel(text)
