"""What the processor's instructions look like, as data; `paravane.asm.forms` reads it and says how."""

from paravane.asm.opcodes.general import CONDITIONS, GENERAL
from paravane.asm.opcodes.system import SYSTEM
from paravane.asm.opcodes.vector import VECTOR
from paravane.asm.opcodes.x87 import X87

TABLES = (GENERAL, SYSTEM, X87, VECTOR)

__all__ = ["CONDITIONS", "TABLES"]
