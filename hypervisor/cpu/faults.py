"""What the guest did: accesses and selectors that the processor refuses."""


class PageFault(Exception):
    """A guest access that the page tables refuse: the linear address and the #PF error code (SDM 4.7)."""

    def __init__(self, va: int, error_code: int) -> None:
        super().__init__(va, error_code)
        self.va = va
        self.error_code = error_code

    def __str__(self) -> str:
        return f"page fault at {self.va:#010x}, error code {self.error_code:#x}"


class SegmentFault(Exception):
    """A selector the descriptor tables refuse: vector (10-13) and the error code that goes with it."""

    def __init__(self, vector: int, error_code: int) -> None:
        super().__init__(vector, error_code)
        self.vector = vector
        self.error_code = error_code

    def __str__(self) -> str:
        return f"segment fault: vector {self.vector}, error code {self.error_code:#x}"
