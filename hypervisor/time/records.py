"""The time records a guest reads: vcpu_time_info and the wall clock (public/xen.h, "struct vcpu_time_info").

The virtual TSC counts nanoseconds of system time, so the scale is the same for every vcpu and never changes:
system_time = ((tsc - tsc_timestamp) << 1) * 0x80000000 >> 32.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from paravane.abi.shared_info import SHARED_INFO, VCPU_TIME_INFO, PvclockFlag

if TYPE_CHECKING:
    from paravane.cpu import Ram

TSC_TO_SYSTEM_MUL = 0x8000_0000
TSC_SHIFT = 1
TSC_KHZ = 1_000_000
"""The virtual TSC runs at 1 GHz: one tick a nanosecond."""

_TIME = VCPU_TIME_INFO.offsets
_BODY = struct.Struct("<QQIbB")
_WALL = struct.Struct("<II")


def write_vcpu_time(ram: Ram, address: int, now: int) -> None:
    """Write the vcpu_time_info at machine `address` for system time `now` (nanoseconds).

    The version is odd while the record changes, as the guest's lock-free readers expect.
    """
    view = ram.bytes
    version = int.from_bytes(view[address : address + 4], "little") & ~1
    view[address : address + 4] = ((version + 1) & 0xFFFF_FFFF).to_bytes(4, "little")
    body = _BODY.pack(now, now, TSC_TO_SYSTEM_MUL, TSC_SHIFT, PvclockFlag.TSC_STABLE_BIT)
    start = address + _TIME["tsc_timestamp"]
    view[start : start + len(body)] = body
    view[address : address + 4] = ((version + 2) & 0xFFFF_FFFF).to_bytes(4, "little")


def write_wall_clock(ram: Ram, shared_info: int, wall_base: int) -> None:
    """Write shared_info's wc_sec and wc_nsec: the wall clock at system time 0, in nanoseconds since 1970."""
    offsets = SHARED_INFO.offsets
    view = ram.bytes
    at = shared_info + offsets["wc_version"]
    version = int.from_bytes(view[at : at + 4], "little") & ~1
    seconds, nanoseconds = divmod(wall_base, 1_000_000_000)
    view[at : at + 4] = ((version + 1) & 0xFFFF_FFFF).to_bytes(4, "little")
    start = shared_info + offsets["wc_sec"]
    view[start : start + 8] = _WALL.pack(seconds & 0xFFFF_FFFF, nanoseconds)
    high = shared_info + offsets["arch.wc_sec_hi"]
    view[high : high + 4] = (seconds >> 32).to_bytes(4, "little")
    view[at : at + 4] = ((version + 2) & 0xFFFF_FFFF).to_bytes(4, "little")
