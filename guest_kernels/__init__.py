"""The guest kernels that come with Paravane: a folder each (see `folder`), one idea each."""

from __future__ import annotations

from pathlib import Path

from paravane.guest_kernels.folder import SETTINGS, GuestKernel, load_folder

_FOLDER = Path(__file__).parent


class UnknownKernel(LookupError):
    """No guest kernel has this name; the message lists those that exist."""


def names() -> tuple[str, ...]:
    """The names of all guest kernels, in alphabetical order."""
    return tuple(sorted(path.parent.name for path in _FOLDER.glob(f"*/{SETTINGS}")))


def folder_of(name: str) -> Path:
    """The folder of the guest kernel called `name`. Raises UnknownKernel when there is none."""
    if name not in names():
        raise UnknownKernel(f"no guest kernel is called {name!r}; there are {', '.join(names())}")
    return _FOLDER / name


def load(name: str) -> GuestKernel:
    """The guest kernel called `name`. Raises UnknownKernel when there is none."""
    return load_folder(folder_of(name))


__all__ = ["GuestKernel", "UnknownKernel", "folder_of", "load", "names"]
