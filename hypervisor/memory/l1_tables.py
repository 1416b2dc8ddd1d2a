"""L1 tables: what a leaf entry may map, and the checks of whole tables in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.memory.address_space import flag_names
from paravane.memory.frames import FREE, VALIDATED, WRITABLE
from paravane.refusal import Refusal
from paravane.x86 import Pte

if TYPE_CHECKING:
    from paravane.memory.owner import Owner
    from paravane.memory.page_types import PageTypes


class L1Tables:
    """Takes and drops what L1 entries refer to."""

    def __init__(self, types: PageTypes) -> None:
        self._types = types
        self._frames = types.frames

    def get_entry(self, entry: int, domain: Owner, pg_owner: int) -> int:
        """Take what a present entry of a table of `domain` maps, and give the entry to be stored.

        `pg_owner` is the domain whose frame it is meant to be. Raises Refusal: -EINVAL for bits no guest may
        set, -EPERM for an address where there is no memory, -EBUSY for a frame that is not `pg_owner`'s or
        that is in use as something a guest must not write.
        """
        space, frames = domain.space, self._frames
        refused = entry & space.refused[1]
        if refused:
            where = f"L1 entry {entry:#x} of d{domain.domid}"
            raise Refusal(Errno.EINVAL, f"{where} sets {flag_names(refused)}, which no guest may")
        mfn = (entry & space.geometry.address_mask) >> 12
        if mfn >= frames.nr_frames or frames.owner[mfn] == DomId.IO:
            # What is no memory is device memory to Xen, like the first MiB of a PC; no guest has leave to it.
            errno = Errno.EINVAL if mfn == space.no_frame else Errno.EPERM
            what = f"{frames.describe(mfn)}: device memory, if anything"
            raise Refusal(errno, f"L1 entry {entry:#x} of d{domain.domid} maps {what}")
        self._check_owner(entry, mfn, domain, pg_owner)
        if frames.count[mfn] >= frames.count_limit:
            raise Refusal(Errno.EBUSY, f"{frames.describe(mfn)} has too many references for another one")
        if entry & Pte.RW:
            try:
                self._types.get_type(mfn, WRITABLE)
            except Refusal as refusal:
                where = f"L1 entry {entry:#x} of d{domain.domid}"
                raise Refusal(Errno.EBUSY, f"{where} wants to write: {refusal.sentence}") from None
        frames.count[mfn] += 1
        return entry & ~space.dropped

    def _check_owner(self, entry: int, mfn: int, domain: Owner, pg_owner: int) -> None:
        owner = self._frames.owner[mfn]
        if owner == pg_owner and owner != FREE:
            return
        mapper = self._types.owner(pg_owner)
        if (
            self._types.owner(owner) is not None
            and pg_owner != domain.domid
            and mapper is not None
            and mapper.privileged
        ):
            return
        where, what = f"L1 entry {entry:#x} of d{domain.domid}", self._frames.describe(mfn)
        raise Refusal(Errno.EBUSY, f"{where} maps {what}, expected a frame of d{pg_owner}")

    def put_entry(self, entry: int, domain: Owner) -> None:
        """Drop what an entry of a validated table of `domain` refers to; entries that are not present,
        nothing.
        """
        if not entry & 1:
            return
        mfn = (entry & domain.space.geometry.address_mask) >> 12
        if mfn >= self._frames.nr_frames:
            return
        if self._frames.owner[mfn] != domain.domid:
            # The owner's flushes do not reach the processors of the domain that had it mapped.
            domain.flush_tlb()
        if entry & Pte.RW:
            self._frames.type_count[mfn] -= 1
        self._types.put_page(mfn)

    def promote(self, table: int, domain: Owner, *, xen_l2: bool = False) -> None:
        """Take everything a table maps. Raises Refusal after giving back exactly what it had taken."""
        entries = domain.table(table)
        if not any(entries):
            return
        space, frames, domid = domain.space, self._frames, domain.domid
        owner, count, limit = frames.owner, frames.count, frames.count_limit
        kind, type_count, flags = frames.type, frames.type_count, frames.flags
        unusual, mask, nr_frames = (
            space.refused[1] | space.dropped,
            space.geometry.address_mask,
            frames.nr_frames,
        )
        for slot, entry in enumerate(entries):
            if not entry & 1:
                continue
            mfn = (entry & mask) >> 12
            if not entry & unusual and mfn < nr_frames and owner[mfn] == domid and count[mfn] < limit:
                if not entry & 2:
                    count[mfn] += 1
                    continue
                uses = type_count[mfn]
                if not uses:
                    if kind[mfn] != WRITABLE and self._types.observer is not None:
                        self._types.observer("type", mfn, kind[mfn], WRITABLE)
                    kind[mfn] = WRITABLE
                    flags[mfn] |= VALIDATED
                if not uses or (kind[mfn] == WRITABLE and uses < limit):
                    type_count[mfn] = uses + 1
                    count[mfn] += 1
                    continue
            try:
                stored = self.get_entry(entry, domain, domid)
            except Refusal as refusal:
                for taken in entries[:slot]:
                    self.put_entry(taken, domain)
                where = f"entry {slot} of L1 table {table:#x}"
                raise Refusal(refusal.errno, f"{where}: {refusal.sentence}") from None
            if stored != entry:
                domain.entries[(table << space.table_shift) + slot] = stored

    def demote(self, table: int, domain: Owner) -> None:
        """Drop everything a validated table maps."""
        entries = domain.table(table)
        if not any(entries):
            return
        frames, domid, mask = self._frames, domain.domid, domain.space.geometry.address_mask
        owner, count, type_count = frames.owner, frames.count, frames.type_count
        for entry in entries:
            if not entry & 1:
                continue
            mfn = (entry & mask) >> 12
            references = count[mfn]
            if references > 1 and owner[mfn] == domid:
                if entry & 2:
                    type_count[mfn] -= 1
                count[mfn] = references - 1
            else:
                self.put_entry(entry, domain)
