"""`paravane` as a shell finds it in tests: a command of the server of `forked`, whose streams, folder and
environment are those of whoever typed it.

It is run by its path, with the server's address and the arguments, and imports little: an interpreter that
has Paravane to import takes twenty times as long to start.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def main() -> None:
    """Have it done; ends with its status, or by the signal that ended it."""
    address, *arguments = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [b"!"], [0, 1, 2])
        # Whoever starts the shell notes that it does: anything may come of that.
        order = {"arguments": arguments, "cwd": os.getcwd(), "env": dict(os.environ), "note_in": None}
        server.sendall(json.dumps(order).encode() + b"\n")
        answers = server.makefile("rb")
        pid = int(answers.readline())
        for number in _PASSED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda number, _: os.kill(pid, number))
        status = int(answers.readline())
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main()
