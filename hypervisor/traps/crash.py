"""The one way a guest's traps end its domain."""


class GuestCrash(Exception):
    """The domain did something Xen answers with domain_crash. `sentence` says what, for the crash dump."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence
