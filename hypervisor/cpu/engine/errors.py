"""What the engine's side of the processor raises."""


class EngineError(Exception):
    """The engine did something nobody asked for, or is not an engine this code knows. One sentence."""
