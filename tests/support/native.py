"""Building the C code of `paravane.gateway` from the sources as they are, without a warning."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from paravane import gateway
from tests.support.needs import path_with, tool

FOLDER: Final = Path(gateway.__file__).parent
UNDEFINED: Final = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
"""What C leaves undefined ends the process; that takes no library of the compiler's."""
ADDRESSES: Final = ("-fsanitize=address", "-static-libasan")
"""What lies outside ends a program, with a report. Not for a library that Python loads: the engine's state is
found by what the C library's heap says of it (paravane.cpu.engine.live), and this is another heap."""
_FLAGS: Final = ("-O2", "-D_POSIX_C_SOURCE=199309L", "-Wall", "-Wextra", "-Werror", f"-I{FOLDER}")


def build(target: Path, *more: str) -> None:
    """All of it, and `more` flags and sources of the compiler's, into the file `target`."""
    sources = map(str, sorted(FOLDER.glob("*.c")))
    environment = {**os.environ, "PATH": path_with("gcc", "as", "ld")}
    subprocess.run([tool("gcc"), *_FLAGS, "-o", str(target), *more, *sources], check=True, env=environment)
