"""Grant tables (public/grant_table.h): the frames that domains let each other use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.grants.grant_table import GrantTable, GrantTables, HasGrants
from paravane.grants.granted_page import GrantMapping
from paravane.grants.use import (
    MAX_GRANT_FRAMES,
    MAX_GRANT_VERSION,
    MAX_MAPTRACK_FRAMES,
    GrantLimits,
    GrantRefusal,
)
from paravane.late import late

if TYPE_CHECKING:
    from paravane.grants.backend import map_grants, read_grant, write_grant
    from paravane.grants.transfer import give_frame
else:
    # What backends do with grants, of which a guest without devices needs nothing.
    __getattr__ = late(__name__, backend="map_grants read_grant write_grant", transfer="give_frame")

__all__ = [
    "MAX_GRANT_FRAMES",
    "MAX_GRANT_VERSION",
    "MAX_MAPTRACK_FRAMES",
    "GrantLimits",
    "GrantMapping",
    "GrantRefusal",
    "GrantTable",
    "GrantTables",
    "HasGrants",
    "give_frame",
    "map_grants",
    "read_grant",
    "write_grant",
]
