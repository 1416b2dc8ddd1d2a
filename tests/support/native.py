"""Building the C code of `paravane.gateway` from the sources as they are, without a warning."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from paravane import gateway
from tests.support.needs import path_with, tool

FOLDER: Final = Path(gateway.__file__).parent
_FLAGS: Final = ("-O2", "-D_POSIX_C_SOURCE=199309L", "-Wall", "-Wextra", "-Werror", f"-I{FOLDER}")


def build(target: Path, *more: str) -> None:
    """All of it, and `more` flags and sources of the compiler's, into the file `target`."""
    sources = map(str, sorted(FOLDER.glob("*.c")))
    environment = {**os.environ, "PATH": path_with("gcc", "as", "ld")}
    subprocess.run([tool("gcc"), *_FLAGS, "-o", str(target), *more, *sources], check=True, env=environment)
