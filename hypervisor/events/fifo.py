"""Delivery to a guest: the FIFO event ABI (public/event_channel.h, "FIFO ABI"; Xen's common/event_fifo.c).

Every port has an event word in pages that the guest gives, the event array. A port that fires turns PENDING.
Unless it is MASKED, or still LINKED into a queue that the guest has not emptied, it is put at the end of the
queue of its priority: the word of the port before it, or the queue's head in the control block of the vcpu,
names it. A queue that was empty sets its bit in `ready` and raises an upcall.

A guest may write anything into these pages. Nothing is read from them but the four flag bits of the word of a
port, and nothing that is read there says where to read or write next: the end of each queue is kept here, so
the worst a guest gets is a lost, a late or a spurious event of its own.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, Final, Protocol

from paravane.abi.errno import Errno
from paravane.abi.event_channel import (
    EVTCHN_FIFO_CONTROL_BLOCK,
    EVTCHN_FIFO_LINK_MASK,
    EVTCHN_FIFO_MAX_QUEUES,
    EVTCHN_FIFO_NR_CHANNELS,
    EvtchnFifo,
    EvtchnFifoPriority,
)
from paravane.classes import dataclass
from paravane.refusal import Refusal
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paravane.events.upcalls import Memory, Upcalls

WORDS_PER_PAGE: Final = PAGE_SIZE // 4
MAX_ARRAY_PAGES: Final = EVTCHN_FIFO_NR_CHANNELS // WORDS_PER_PAGE

_PENDING: Final = 1 << EvtchnFifo.PENDING
_MASKED: Final = 1 << EvtchnFifo.MASKED
_LINKED: Final = 1 << EvtchnFifo.LINKED
_BUSY_AND_LINK: Final = 1 << EvtchnFifo.BUSY | EVTCHN_FIFO_LINK_MASK
_READY: Final = EVTCHN_FIFO_CONTROL_BLOCK.offsets["ready"] >> 2
_HEAD: Final = EVTCHN_FIFO_CONTROL_BLOCK.offsets["head"] >> 2
_WORD_SHIFT: Final = PAGE_SHIFT - 2


class Frames(Protocol):
    """Who has the frames of the machine (paravane.memory.MachineMemory)."""

    def hold(self, mfn: int, domid: int, *, writable: bool) -> None:
        """Keep a frame of a domain what it is. Raises Refusal (-EINVAL)."""
        ...

    def let_go(self, mfn: int, *, writable: bool) -> None:
        """Undo a `hold`."""
        ...


@dataclass(slots=True)
class FifoState:
    """All that has to be kept besides the pages, which are guest memory.

    `control_blocks`: the machine address of each vcpu's, 0 until the guest gives one. `array`: the frames of
    the event words. `tails`: the port at the end of each queue, 0 when none can be; a queue's number is
    `vcpu_id * EVTCHN_FIFO_MAX_QUEUES + priority`. `priorities`: of the ports that have another one than the
    default. `queues`: the queue that a port was last put into; before that it is the first one.
    """

    control_blocks: list[int]
    tails: list[int]
    array: list[int] = field(default_factory=list)
    priorities: dict[int, int] = field(default_factory=dict)
    queues: dict[int, int] = field(default_factory=dict)

    def copy(self) -> FifoState:
        return replace(
            self,
            control_blocks=list(self.control_blocks),
            tails=list(self.tails),
            array=list(self.array),
            priorities=dict(self.priorities),
            queues=dict(self.queues),
        )


class Fifo:
    """FIFO delivery for one domain (paravane.events.port.Delivery).

    A port whose word is in no page yet fires when the guest gives that page: until then, and as in Xen for
    good, it is in `late`, which outlives the FIFO ABI: the page that brings such a port fires it, every time.
    """

    nr_ports = EVTCHN_FIFO_NR_CHANNELS

    def __init__(
        self,
        domid: int,
        memory: Memory,
        frames: Frames,
        upcalls: Upcalls,
        late: set[int],
        state: FifoState | None = None,
    ) -> None:
        """`state`: go on from it, in pages that are held already."""
        nr_vcpus = len(upcalls.infos)
        self.state = (
            FifoState([0] * nr_vcpus, [0] * nr_vcpus * EVTCHN_FIFO_MAX_QUEUES) if state is None else state
        )
        self._domid = domid
        self._words = memory.words
        self._frames = frames
        self._upcalls = upcalls
        self._pollers = upcalls.pollers
        self._late = late

    # What the guest gives, and gets back.

    def add_control_block(self, vcpu_id: int, gfn: int, offset: int) -> None:
        """Deliver to a vcpu through the control block at byte `offset` of a frame. Raises Refusal (-EINVAL)
        for a frame that cannot be written, or when the vcpu has one."""
        blocks = self.state.control_blocks
        if blocks[vcpu_id]:
            raise Refusal(Errno.EINVAL, f"vcpu {vcpu_id} has a FIFO control block already")
        self._frames.hold(gfn, self._domid, writable=True)
        blocks[vcpu_id] = (gfn << PAGE_SHIFT) + offset

    def add_page(self, gfn: int) -> range:
        """The frame has the event words of the next ports, which are returned. Raises Refusal: -EINVAL for a
        frame that cannot be written, -ENOSPC when every port has its word."""
        array = self.state.array
        if len(array) >= MAX_ARRAY_PAGES:
            raise Refusal(Errno.ENOSPC, f"all {MAX_ARRAY_PAGES} pages of the event array are there")
        self._frames.hold(gfn, self._domid, writable=True)
        first = len(array) * WORDS_PER_PAGE
        array.append(gfn)
        return range(first, first + WORDS_PER_PAGE)

    def close(self) -> None:
        """Give every page back to the guest."""
        state = self.state
        for block in state.control_blocks:
            if block:
                self._frames.let_go(block >> PAGE_SHIFT, writable=True)
        for mfn in state.array:
            self._frames.let_go(mfn, writable=True)
        state.array.clear()

    def set_priority(self, port: int, priority: int) -> None:
        """Put the port into another queue from now on; where it is linked already it stays. Raises
        Refusal (-EINVAL)."""
        if priority > EvtchnFifoPriority.MIN:
            raise Refusal(Errno.EINVAL, f"the lowest priority is {EvtchnFifoPriority.MIN}, not {priority}")
        self.state.priorities[port] = priority

    def priority(self, port: int) -> int:
        return self.state.priorities.get(port, EvtchnFifoPriority.DEFAULT)

    # What every ABI of delivery does.

    def init(self, port: int) -> None:
        """A port is put to a new use."""
        self.state.priorities.pop(port, None)

    def set_pending(self, port: int, vcpu_id: int) -> None:
        """Port `port`, which notifies `vcpu_id`, has fired.

        Without a control block the event is lost, as in Xen: a guest has to give one before it unmasks.
        """
        at = self._word(port)
        if at is None:
            self._late.add(port)
            return
        block = self.state.control_blocks[vcpu_id] >> 2
        if not block:
            return
        word = self._words[at]
        if word & (_MASKED | _LINKED):
            self._words[at] = word | _PENDING
        else:
            self._words[at] = word | _PENDING | _LINKED
            priority = self.priority(port)
            if not self._append(port, vcpu_id * EVTCHN_FIFO_MAX_QUEUES + priority):
                self._words[block + _HEAD + priority] = port
                ready = self._words[block + _READY]
                if not ready >> priority & 1:
                    self._words[block + _READY] = ready | 1 << priority
                    self._upcalls.raise_for(vcpu_id)
        if not word & _PENDING and self._pollers:
            self._upcalls.wake_pollers(port)

    def clear_pending(self, port: int) -> None:
        """The guest takes a port out of its queue and ignores one that is not pending any more."""
        at = self._word(port)
        if at is not None:
            self._words[at] &= ~_PENDING

    def unmask(self, port: int, vcpu_id: int) -> None:
        """Clear MASKED; a port that is pending is put into its queue now."""
        at = self._word(port)
        if at is not None:
            word = self._words[at] & ~_MASKED
            self._words[at] = word
            if word & _PENDING:
                self.set_pending(port, vcpu_id)

    def is_pending(self, port: int) -> bool:
        return self._has(port, _PENDING)

    def is_masked(self, port: int) -> bool:
        """A port without a word counts as masked."""
        return self._word(port) is None or self._has(port, _MASKED)

    def is_busy(self, port: int) -> bool:
        """A closed port that the guest has not taken out of its queue cannot be given away yet."""
        return self._has(port, _LINKED)

    def unmasked(self, nr_ports: int) -> tuple[int, ...]:
        """Those of the first ports that are pending and not masked, for the trace."""
        words = (word for page in self._pages(nr_ports) for word in page)
        return tuple(port for port, word in enumerate(words) if word & (_PENDING | _MASKED) == _PENDING)

    def _append(self, port: int, queue: int) -> bool:
        """Put a port, whose word says LINKED already, at the end of a queue; False when that had no end that
        is linked, so that the port is its new head."""
        tails, queues = self.state.tails, self.state.queues
        before = queues.get(port, 0)
        if tails[before] == port:
            # The guest has taken it out of that queue, which so is empty. It must not be taken for the end of
            # it now that it is linked into this one.
            tails[before] = 0
        queues[port] = queue
        tail, tails[queue] = tails[queue], port
        at = self._word(tail) if tail else None
        if at is None or not self._words[at] & _LINKED:
            return False
        self._words[at] = self._words[at] & ~_BUSY_AND_LINK | port
        return True

    def _word(self, port: int) -> int | None:
        """The index in `words` of a port's event word; None without a page for it."""
        array = self.state.array
        page = port // WORDS_PER_PAGE
        return (array[page] << _WORD_SHIFT) + port % WORDS_PER_PAGE if page < len(array) else None

    def _has(self, port: int, flag: int) -> bool:
        at = self._word(port)
        return at is not None and bool(self._words[at] & flag)

    def _pages(self, nr_ports: int) -> Iterator[list[int]]:
        """The words of the first ports, as far as there are any."""
        for page, mfn in enumerate(self.state.array[: -(-nr_ports // WORDS_PER_PAGE)]):
            first = mfn << _WORD_SHIFT
            wanted = min(WORDS_PER_PAGE, nr_ports - page * WORDS_PER_PAGE)
            yield self._words[first : first + wanted].tolist()
