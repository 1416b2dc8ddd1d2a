"""What figures were measured on, so that somebody else can tell."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Final

from paravane.gateway import native

_CPUINFO: Final = Path("/proc/cpuinfo")


def description() -> dict[str, object]:
    """Processor, system, releases, and what serves traps in C."""
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "paravane": metadata.version("paravane"),
        "unicorn": metadata.version("unicorn"),
        "native": native.report(),
    }


def _processor() -> str:
    """Linux alone names it; elsewhere its architecture has to do."""
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.machine()
