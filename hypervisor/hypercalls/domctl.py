"""domctl (public/domctl.h): what the control domain does to domains. Everybody else is refused.

A program that probes for its privileges sees Xen's errnos in Xen's order: -EFAULT for a struct that cannot be
read, -EACCES for another version of the interface, -ESRCH for a domain that does not exist, then -EPERM.

Here is what all commands have in common; the commands are in the files whose names begin like this one's.
"""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Final

from paravane.abi.domctl import XEN_DOMCTL, XEN_DOMCTL_INTERFACE_VERSION, DomctlCmd, XenDomctl
from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.abi.hypercall import Hypercall
from paravane.abi.layout import Layout
from paravane.hypercalls.interface import require_version
from paravane.hypercalls.struct_family import StructFamily
from paravane.hypercalls.table import In, hypercall
from paravane.refusal import Refusal

if TYPE_CHECKING:
    from paravane.domain import Domain
    from paravane.hypercalls.caller import Caller

POINTER: Final = 0xFFFF_FFFF
"""The bits of a 64-bit pointer that count for a 32-bit caller."""

_ANY_DOMAIN = (DomctlCmd.test_assign_device, DomctlCmd.vm_event_op)
"""Commands that may be about no domain: DOMID_INVALID."""

_ASSIGNMENTS = (DomctlCmd.assign_device, DomctlCmd.deassign_device)

Run = Callable[["Caller", "Domain", Any], Any]


def _enter(caller: "Caller", op: XenDomctl) -> XenDomctl:
    """Domains that do not exist are told apart from those that are not the caller's to control."""
    require_version(op.interface_version, XEN_DOMCTL_INTERFACE_VERSION)
    number = _named_domain(caller, op)
    if not caller.domain.privileged:
        raise Refusal(Errno.EPERM, f"domctl {op.cmd} is for the control domain")
    return op._replace(domain=number)


domctl = StructFamily(Hypercall.domctl, DomctlCmd, XEN_DOMCTL, "u_domctl", _enter)


def about(cmd: DomctlCmd, part: Layout[Any] | None = None) -> Callable[[Run], Run]:
    """Declare the function below as a command about a domain that exists. It is given the caller, the domain
    and the command's part of the struct, which is copied back with what it returns, unless that is None."""

    def declare(run: Run) -> Run:
        @wraps(run)
        def command(caller: "Caller", op: XenDomctl) -> XenDomctl | int:
            domain = caller.control.guest(op.domain)
            if domain is None:
                raise Refusal(Errno.EPERM, f"domain {op.domain} is the host, which nobody controls")
            answer = run(caller, domain, op.u)
            return 0 if answer is None else op._replace(u=answer)

        domctl.command(cmd, part)(command)
        return run

    return declare


def not_oneself(caller: "Caller", domain: "Domain") -> None:
    if domain is caller.domain:
        raise Refusal(Errno.EINVAL, "no domain can be stopped by what it does itself")


def _named_domain(caller: "Caller", op: XenDomctl) -> int:
    """The number of the domain that a command is about, which exists. Raises Refusal for a command that does
    not go on to ask for privileges."""
    if op.cmd == DomctlCmd.createdomain:
        return op.domain
    if op.cmd in _ASSIGNMENTS and op.domain == DomId.IO:
        return op.domain
    if op.cmd in _ANY_DOMAIN and op.domain == DomId.INVALID:
        return op.domain
    if op.cmd == DomctlCmd.getdomaininfo and caller.platform.domains.find(op.domain) is None:
        if op.domain >= DomId.FIRST_RESERVED:
            raise Refusal(Errno.EINVAL, f"{op.domain:#x} is no domain's number")
        # It takes the next domain where there is none with that number.
        found = caller.platform.domains.first_from(op.domain)
        if found is None:
            raise Refusal(Errno.ESRCH, f"there is no domain from {op.domain} on")
        return found
    return caller.platform.domains.by_id(op.domain).domid


@hypercall(Hypercall.arch_1)
def paging_domctl_cont(caller: "Caller", u_domctl: Annotated[XenDomctl, In(XEN_DOMCTL)]) -> None:
    """The rest of a preempted XEN_DOMCTL_shadow_op."""
    if u_domctl.interface_version != XEN_DOMCTL_INTERFACE_VERSION or u_domctl.cmd != DomctlCmd.shadow_op:
        raise Refusal(Errno.EOPNOTSUPP, f"domctl {u_domctl.cmd} is not continued here")
    caller.platform.domains.by_id(u_domctl.domain)
    raise Refusal(Errno.EPERM, "the paging of a domain is for the control domain")
