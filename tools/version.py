"""`paravane --version`: what is installed, its engine, and with -v what its engine can do."""

from __future__ import annotations

from importlib import metadata

from paravane.tools.status import Status, UsageError

_LIBRARIES = ("capstone", "lz4", "zstandard")


def show(*, verbose: bool) -> int:
    """Print it. UsageError when the engine cannot be loaded, which -v asks for."""
    print(f"paravane {_installed('paravane')} (Unicorn {_installed('unicorn')})")
    if verbose:
        from paravane.cpu import EngineError, engine_report  # noqa: PLC0415 - loaded for who asks for it only
        from paravane.gateway import native  # noqa: PLC0415

        for library in _LIBRARIES:
            print(f"{library} {_installed(library)}")
        try:
            print(*engine_report(), native.report(), sep="\n")
        except EngineError as error:
            raise UsageError(str(error), Status.ERRORS) from None
    return Status.OK


def _installed(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "(not installed)"
