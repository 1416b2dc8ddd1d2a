"""What guests are refused with is what `paravane docs` says they may be refused with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from paravane.hypercalls.declaration import Declaration, Family
from paravane.hypercalls.table import declared
from paravane.tools.docs.refusals import Reach
from paravane.tools.docs.source import of_hypervisor
from paravane.trace import HypercallRecord, Kind

if TYPE_CHECKING:
    from paravane.testing.plugin import Boot
    from paravane.tools.docs.source import Source


def listed(source: Source, record: HypercallRecord) -> list[tuple[str, str]]:
    """The errnos and sentences that the hypercall of a record may be refused with."""
    entry = declared()[record.number]
    if isinstance(entry, Declaration):
        reach = Reach(source, entry.function)
    else:
        assert isinstance(entry, Family)
        commands = [command for command in entry.commands.values() if command.name == record.name]
        check = () if entry.check is None else (entry.check,)
        reach = Reach(source, *check, *(command.function for command in commands))
    return [(errno.name, sentence) for errno, found in reach.refusals.items() for sentence in found]


def fits(sentence: str, pattern: str) -> bool:
    parts = (re.escape(part) for part in re.split(r"<[^<>]*>", pattern))
    # Whoever works through a list says in front which entry it was.
    return re.fullmatch("(.*: )?" + ".*".join(parts), sentence, re.DOTALL) is not None


@pytest.mark.parametrize("name", ["attack", "balloon", "emulate", "segments", "debug"])
def test_every_refusal_of_a_guest_is_in_the_documentation(name: str, boot: Boot) -> None:
    source, outcome = of_hypervisor(), boot(name, trace=(Kind.HYPERCALL,))
    # A guest that tries a thing a thousand times is refused with the same sentence a thousand times.
    refused = {
        (record.name, record.errno, record.sentence): record
        for record in outcome.records
        if isinstance(record, HypercallRecord) and record.errno is not None
    }.values()
    kinds = {record.name: record for record in refused}
    reasons = {name: listed(source, record) for name, record in kinds.items()}
    for record in refused:
        assert record.errno is not None
        told = [sentence for errno, sentence in reasons[record.name] if errno == record.errno.name]
        bad_pointer = record.sentence.startswith("an argument points to ")
        assert bad_pointer or any(fits(record.sentence, sentence) for sentence in told), record
    assert refused or name in ("debug", "emulate")
