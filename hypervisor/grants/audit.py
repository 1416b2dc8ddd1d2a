"""The audit of grants: what is in use, counted again from the handles of those who use it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from paravane.grants.mapping import giver_of, uses_of

if TYPE_CHECKING:
    from paravane.grants.grant_table import GrantTables


def audit_grants(tables: GrantTables) -> list[str]:
    """Every difference found, in sentences; none if all is right. Not to be asked while a copy is under way.

    What the host's backends use is not known by handles: such entries are not looked at.
    """
    counted: Counter[tuple[int, int]] = Counter()
    found: list[str] = []
    for own in tables.all():
        for mapped in own.maptrack:
            giver = giver_of(own, mapped)
            if giver is None:
                continue
            counted[giver.domid, mapped.ref] += uses_of(mapped.flags)
            active = giver.state.active.get(mapped.ref)
            if active is None or active.domid != own.domid:
                found.append(f"d{own.domid} has a handle of grant {mapped.ref} of d{giver.domid}, not in use")
    for giver in tables.all():
        for ref, active in giver.state.active.items():
            uses = counted[giver.domid, ref]
            if tables.table_of(active.domid) is not None and active.pin != uses:
                found.append(
                    f"grant {ref} of d{giver.domid} has counts {active.pin:#010x} instead of {uses:#010x}"
                )
    return found
