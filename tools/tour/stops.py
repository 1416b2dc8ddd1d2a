"""The stops of the tour, in their order. A new one goes to the end, so that numbers keep their meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.tools.tour import beside, machine, memory, processor

if TYPE_CHECKING:
    from paravane.tools.tour.stop import Stop

STOPS: Final[tuple[Stop, ...]] = (
    machine.PRICE,
    memory.PRINCIPLES,
    processor.PROTECTION,
    processor.SEGMENTATION,
    memory.PAGING,
    memory.BATCHES,
    processor.EXCEPTIONS,
    processor.PAGE_FAULTS,
    processor.SYSTEM_CALLS,
    machine.EVENTS,
    machine.TIME,
    machine.RINGS,
    machine.GRANTS,
    memory.SAFETY,
    memory.BALLOON,
    machine.SCHEDULING,
    machine.CONTROL,
    beside.FULL,
    beside.TLBS,
)
