"""What the hypercalls for control software have in common: a version that caller and hypervisor agree on."""

from paravane.abi.errno import Errno
from paravane.refusal import Refusal


def require_version(found: int, wanted: int) -> None:
    """Raises Refusal (-EACCES) for software that was made for another version of the interface."""
    if found != wanted:
        raise Refusal(Errno.EACCES, f"interface version {found:#x} is not {wanted:#x}, which Xen 4.17 has")
