"""domctl's commands about the frames of a domain."""

from typing import TYPE_CHECKING

from paravane.abi.domctl import DomctlCmd
from paravane.abi.domctl_frames import (
    XEN_DOMCTL_GETPAGEFRAMEINFO3,
    XEN_DOMCTL_HYPERCALL_INIT,
    XenDomctlGetpageframeinfo3,
    XenDomctlHypercallInit,
)
from paravane.abi.errno import Errno
from paravane.builder import hypercall_page
from paravane.hypercalls.domctl import POINTER, about
from paravane.memory.frame_use import frame_use
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.domain import Domain
    from paravane.hypercalls.caller import Caller


@about(DomctlCmd.hypercall_init, XEN_DOMCTL_HYPERCALL_INIT)
def hypercall_init(caller: "Caller", domain: "Domain", part: XenDomctlHypercallInit) -> None:
    """Write the entries of a hypercall page into a frame of the domain."""
    memory = domain.memory
    if not memory.machine.frames.owned_by(part.gmfn, domain.domid):
        raise Refusal(
            Errno.EINVAL, f"{memory.machine.frames.describe(part.gmfn)} is not a frame of d{domain.domid}"
        )
    try:
        memory.write_frame(part.gmfn, hypercall_page())
    except Refusal as refusal:
        raise Refusal(Errno.EPERM, refusal.sentence) from None


MOST_FRAMES = 1024
"""Frames whose kinds one getpageframeinfo3 tells."""


@about(DomctlCmd.getpageframeinfo3, XEN_DOMCTL_GETPAGEFRAMEINFO3)
def getpageframeinfo3(caller: "Caller", domain: "Domain", part: XenDomctlGetpageframeinfo3) -> None:
    """Replace each number of a list by what its frame is used for."""
    if part.num > MOST_FRAMES:
        raise Refusal(Errno.E2BIG, f"{part.num} frames to tell of, at most {MOST_FRAMES} are allowed")
    for at in range(part.array & POINTER, (part.array & POINTER) + 4 * part.num, 4):
        mfn = int.from_bytes(caller.copy_from_guest(at, 4), "little")
        caller.copy_to_guest(at, frame_use(domain.memory, mfn).to_bytes(4, "little"))
