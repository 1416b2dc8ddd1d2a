"""console_io (public/xen.h, "Commands to HYPERVISOR_console_io"): the hypervisor's own console.

A release build of Xen refuses it to ordinary domains, a debug build prints what they write with the
domain's number in front. We do as the debug build does: it is what early boot messages of PV kernels need.
"""

from typing import TYPE_CHECKING

from paravane.abi.console import ConsoleIo
from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.hypercalls.table import Int, Ptr, commands
from paravane.preemption import Preempted
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller

CHUNK = 127
"""Bytes copied at a time: what precedes a bad address is printed, as on Xen."""

_CHUNK_WORK = 32
"""Units of work to print a chunk."""

console_io = commands(Hypercall.console_io, ConsoleIo)


@console_io(ConsoleIo.write)
def write(caller: "Caller", count: Int, buffer: Ptr) -> int:
    if count < 0:
        raise Refusal(Errno.EINVAL, f"a count of {count & 0xFFFFFFFF} bytes is over INT_MAX")
    done = 0
    while done < count:
        if done and not caller.work.left():
            raise Preempted(done, ConsoleIo.write, count - done, buffer + done)
        chunk = caller.copy_from_guest(buffer + done, min(CHUNK, count - done))
        caller.domain.hypervisor_console.write(chunk)
        done += len(chunk)
        caller.work.spend(_CHUNK_WORK)
    return 0


@console_io(ConsoleIo.read)
def read(caller: "Caller", count: Int, buffer: Ptr) -> int:
    raise Refusal(Errno.EPERM, "only a privileged domain reads the hypervisor's console")
