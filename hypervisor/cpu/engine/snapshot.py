"""A copy of the processor's state that is made whenever the guest reaches certain instructions.

For instructions that leave nothing to tell what was before them. The copy costs some 50 ns where it is made
by 60 bytes of machine code: on x86-64, where the state is in place and this process may make memory
executable as the engine does. Elsewhere Python makes it, for about 1 us.
"""

import ctypes
from typing import TYPE_CHECKING, Final

from paravane.cpu.engine import library, machine_code, numbers
from paravane.cpu.engine.library import Engine

if TYPE_CHECKING:
    import mmap

_WORD: Final = 8
# mov $from,%rsi; mov $to,%rdi; mov $words,%ecx; rep movsq
_COPY: Final = (b"\x48\xbe", b"\x48\xbf", b"\xb9", b"\xf3\x48\xa5")
# mov $mark,%rax; mov (%rax),%eax; mov $word,%rcx; or %eax,(%rcx); ret
_MARK: Final = (b"\x48\xb8", b"\x8b\x00\x48\xb9", b"\x09\x01\xc3")


class Snapshot:
    """The first `size` bytes of an engine's state (`Engine.bytes`) at the last hooked instruction.

    After the copy was made the bits of `mark` are set in word `marked` of the state (`Engine.words`).
    """

    def __init__(self, engine: Engine, size: int, marked: int) -> None:
        self._engine = engine
        self._marked = marked
        self._mark = ctypes.c_uint32(0)
        self._code: mmap.mmap | None = None
        size = size + _WORD - 1 & -_WORD
        self._copy = (ctypes.c_char * size)()
        self.bytes = memoryview(self._copy).cast("B")
        self.words = self.bytes.cast("I")
        self._callback = self._machine_code() or library.CODE_HOOK(self._take)

    @property
    def mark(self) -> int:
        """Bits to set; at first none."""
        return self._mark.value

    @mark.setter
    def mark(self, bits: int) -> None:
        self._mark.value = bits

    def at(self, begin: int = 1, end: int = 0) -> None:
        """Make the copy at linear `begin`-`end` (default: everywhere), before that code is translated."""
        self._engine.add_hook(numbers.UC_HOOK_CODE, self._callback, begin=begin, end=end)

    def close(self) -> None:
        """Free the machine code. The engine must be closed."""
        if self._code is not None:
            self._code.close()

    def _take(self, _uc: int, _address: int, _size: int, _user: int) -> None:
        self._engine.save()
        self.bytes[:] = self._engine.bytes[: len(self.bytes)]
        if self.mark:
            self._engine.words[self._marked] |= self.mark
            self._engine.restore()

    def _machine_code(self) -> ctypes.c_void_p | None:
        if not self._engine.in_place:
            return None
        source = self._engine.bytes_address
        target = ctypes.addressof(self._copy)
        load_from, load_to, load_count, copy = _COPY
        code = load_from + source.to_bytes(8, "little") + load_to + target.to_bytes(8, "little")
        code += load_count + (len(self.bytes) // _WORD).to_bytes(4, "little") + copy
        load_mark, load_word, set_bits = _MARK
        code += load_mark + ctypes.addressof(self._mark).to_bytes(8, "little")
        code += load_word + (source + 4 * self._marked).to_bytes(8, "little") + set_bits
        self._code = machine_code.place(code)
        return None if self._code is None else ctypes.c_void_p(machine_code.address(self._code))
