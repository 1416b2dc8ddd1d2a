"""Somebody who looks at each block of code before it runs, and may have it translated otherwise."""

from collections.abc import Sequence
from typing import Protocol


class BlockScanner(Protocol):
    """Asked inside the run, when no instruction of the block has been executed.

    Bytes that it stores through a view of machine memory are translated as they are then, while the engine
    notices nothing of the store: put back once the block was translated, they read as the guest wrote them,
    and run as they were translated. A store of the guest's own drops the block.
    """

    def translated(self) -> None:
        """Code was translated: memory can be as the guest has it again. Comes before anybody looks at it."""

    def scan(self, va: int, code: bytes) -> Sequence[int]:
        """The block `code` at linear `va`: machine addresses of bytes in it that were changed, whose blocks
        are to be translated anew. Where there is none it runs."""
