"""How a directive declares itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from paravane.asm.lexer import Scanner

if TYPE_CHECKING:
    from paravane.asm.unit import Unit

Handler = Callable[["Unit", Scanner], None]


def directive(table: dict[str, Handler], *names: str) -> Callable[[Handler], Handler]:
    """Enters a handler into a module's table under the names of its directives, written without the dot."""

    def enter(handler: Handler) -> Handler:
        table.update({"." + name: handler for name in names})
        return handler

    return enter
