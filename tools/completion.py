"""`paravane completion`: a script by which a shell completes commands, options and kernels.

The script is made by shtab from the parser, once: at a press of TAB no Python is started, which would take
half a second each time.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import TYPE_CHECKING, Final

from paravane import guest_kernels
from paravane.tools import images, manual
from paravane.tools.status import Status, UsageError

if TYPE_CHECKING:
    from types import ModuleType

_SHELLS: Final = ("bash", "zsh", "tcsh")

_FILES: Final = ("FILE", "KERNEL.")
_FOLDERS: Final = ("DIR", "FOLDER")

_EPILOG = manual.epilog(
    """\
The script knows commands, options, their values, files, and the kernels of `list`. It is
made once: make it anew after an update. zsh looks for it in the folders of fpath, which
`fpath+=~/.zfunc` before compinit adds to.""",
    statuses=(
        (Status.OK, "it is printed"),
        (Status.ERRORS, "shtab, which makes it, is not installed; or output could not be written"),
        (Status.USAGE, "bad usage"),
    ),
    examples=(
        ("paravane completion bash > ~/.local/share/bash-completion/completions/paravane", ""),
        ("paravane completion zsh > ~/.zfunc/_paravane", ""),
        ("paravane completion tcsh > ~/.paravane.tcsh", "and `source` it in ~/.tcshrc"),
    ),
)


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane completion SHELL`."""
    parser.description = "Print a script by which a shell completes commands, options and kernels."
    parser.epilog = _EPILOG
    parser.add_argument("shell", metavar="SHELL", choices=_SHELLS, help="bash, zsh or tcsh")
    parser.set_defaults(run=_completion)


def _completion(options: argparse.Namespace) -> int:
    try:
        shtab = import_module("shtab")
    except ImportError:
        raise UsageError(
            "scripts are made by shtab: pip install 'paravane[completion]'", Status.ERRORS
        ) from None
    parser: argparse.ArgumentParser = import_module("paravane.tools.commands").whole_parser()
    _say_what_completes(parser, shtab)
    print(shtab.complete(parser, options.shell))
    return Status.OK


def _say_what_completes(parser: argparse.ArgumentParser, shtab: ModuleType) -> None:
    """Tell shtab which arguments are files and folders, by their names in the help, in all subcommands."""
    for action in parser._actions:
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        if isinstance(action, argparse._SubParsersAction):
            for verb in dict.fromkeys(action.choices.values()):
                _say_what_completes(verb, shtab)
        elif metavar == images.METAVAR:
            # A file, or one of those that come with Paravane.
            action.choices = [*guest_kernels.names(), *shtab.Required.FILE]
        elif metavar.startswith(_FILES):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif metavar.startswith(_FOLDERS):
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
