"""Where the engine's library is."""

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Final

_NAMES: Final = {"linux": "libunicorn.so.2", "darwin": "libunicorn.2.dylib"}


def library_file() -> str:
    """Path of the library that the engine's package for Python uses. ImportError when there is none.

    Its wheels bring it along, and there it is looked for first. Where it may be elsewhere the package itself
    is asked, which takes as long to load as all else in `paravane.cpu`: LIBUNICORN_PATH names a folder, a
    distribution keeps it with its own libraries, other systems call it otherwise.
    """
    package = find_spec("unicorn")
    if package and package.submodule_search_locations and "LIBUNICORN_PATH" not in os.environ:
        path = os.path.join(package.submodule_search_locations[0], "lib", _NAMES.get(sys.platform, ""))
        if os.path.isfile(path):
            return path
    asked: str = import_module("unicorn.unicorn_py3.unicorn").uclib._name
    return asked
