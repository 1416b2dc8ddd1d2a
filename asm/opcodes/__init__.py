"""What the processor's instructions look like, as data."""

from paravane.asm.opcodes.general import CONDITIONS
from paravane.asm.opcodes.table import Form, Slot, forms, is_port, names

__all__ = ["CONDITIONS", "Form", "Slot", "forms", "is_port", "names"]
