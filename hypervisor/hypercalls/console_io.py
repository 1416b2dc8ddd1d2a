"""console_io (public/xen.h, "Commands to HYPERVISOR_console_io"): the hypervisor's own console.

A release build of Xen refuses it to ordinary domains, a debug build prints what they write with the domain's
number in front. A machine is like a debug build unless it is made with `debug=False`: early messages of PV
kernels come out this way.
"""

from typing import TYPE_CHECKING

from paravane.abi.console import ConsoleIo
from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.devices.console.control_console import ControlConsole
from paravane.hypercalls.table import Ptr, UInt, commands
from paravane.hypervisor_console import CHUNK
from paravane.preemption import Preempted
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.hypercalls.caller import Caller

_CHUNK_WORK = 32
"""Units of work to print a chunk."""

_MOST_READ = 0x7FFF_FFFF

console_io = commands(Hypercall.console_io, ConsoleIo, unknown=Errno.EPERM)


@console_io(ConsoleIo.write)
def write(caller: "Caller", count: UInt, buffer: Ptr) -> int:
    """Print in chunks: what precedes a chunk that cannot be read is printed."""
    if not caller.platform.debug and not caller.domain.privileged:
        raise Refusal(Errno.EPERM, "a release build of the hypervisor prints for no ordinary domain")
    done = 0
    while done < count:
        if done and not caller.budget.left():
            raise Preempted(done, ConsoleIo.write, count - done, buffer + done)
        chunk = caller.copy_from_guest(buffer + done, min(CHUNK, count - done))
        taken = caller.domain.hypervisor_console.write(chunk)
        if not taken:  # nobody takes the control domain's output: it waits, as for a slow serial line
            raise Preempted(done, ConsoleIo.write, count - done, buffer + done)
        done += taken
        caller.budget.spend(_CHUNK_WORK)
    return 0


@console_io(ConsoleIo.read)
def read(caller: "Caller", count: UInt, buffer: Ptr) -> int:
    console = caller.domain.hypervisor_console
    if not isinstance(console, ControlConsole):
        raise Refusal(Errno.EPERM, "only the control domain reads the hypervisor's console")
    if count > _MOST_READ:
        raise Refusal(Errno.E2BIG, f"{count} bytes to read, whose number would look like an errno")
    data = console.peek(count)
    caller.copy_to_guest(buffer, data)
    console.consume(len(data))
    return len(data)
