"""Guests under a debugger: the real gdb, and a client that says what gdb never would."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from paravane import DomainConfig, Machine, load_image
from paravane.debug.listener import Address, Listener
from paravane.debug.packets import packet
from paravane.debug.registers import NUMBERS
from paravane.debug.server import Server
from paravane.history import History
from paravane.recording import RevisableRecorder
from paravane.trace.text import line
from tests.support import forked
from tests.support.boot import HOST_TIMEOUT, UNHINDERED, kernel_image
from tests.support.needs import tool
from tests.support.prelude import prelude

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from paravane import Domain, Ending

LOOPBACK = "127.0.0.1"

KERNEL = (
    prelude("memory")
    + """
    .globl main
    .type main, @function
main:
    movl $5, %ecx
1:  call step
    loop 1b
    PRINT "done\\n"
    ret

    .type step, @function
step:
    addl $2, counter
stepped:
    ret

    .data
    .balign 4
counter:
    .long 0
"""
)
"""Counts in steps of two, five times, and prints `done`."""

SPIN = (
    prelude()
    + """
    .globl main
    .type main, @function
main:
1:  incl counter
    jmp 1b

    .data
counter:
    .long 0
"""
)
"""Counts for ever."""

SPINNING = (
    prelude()
    + """
    .globl main
    .type main, @function
main:
    PRINT "round and round\\n"
spin:
    incl %eax
    jmp spin
"""
)
"""Says so once, and spins."""

TWO_VCPUS = (
    prelude("paging", "vcpus")
    + """
    .equ VISITS, 20
    .globl main
    .type main, @function
main:
    movl $1, %eax
    movl $worker, %edx
    movl $worker_stack, %ecx
    call start_vcpu
    MUST start_vcpu
started:
    xorl %eax, %eax
    call visit
    movl $SCHEDOP_yield, %ebx
    HYPERCALL sched_op
    cmpl $VISITS, visits + 4
    jb started
    PRINT "done\\n"
    ret

    .type worker, @function
worker:                                 # not before vcpu 0 was there
    movl $SCHEDOP_yield, %ebx
    HYPERCALL sched_op
    cmpl $0, visits
    je worker
working:
    movl $1, %eax
    call visit
    movl $SCHEDOP_yield, %ebx
    HYPERCALL sched_op
    cmpl $VISITS, visits + 4
    jb working
    movl $VCPUOP_down, %eax
    movl $1, %edx
    call vcpu_op

    .type visit, @function              # EAX = the own vcpu
visit:
    incl visits(,%eax,4)
visited:
    ret

    .data
    .balign 4
visits:
    .long 0, 0
    .bss
    .skip 4096
worker_stack:
"""
)
"""Starts vcpu 1, which counts its visits to `visit` and goes down after `VISITS` of them. Vcpu 0 counts its
own, of which the first comes before all, and prints `done` at the end. Both yield after each."""


class Remote:
    """A debugger's side of the protocol, byte by byte. Sockets and answers have `HOST_TIMEOUT`."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((LOOPBACK, port), HOST_TIMEOUT)
        self._unread = b""

    def close(self) -> None:
        self.socket.close()

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def send(self, payload: bytes | str) -> None:
        """Send a packet."""
        self.raw(packet(payload if isinstance(payload, bytes) else payload.encode()))

    def answer(self) -> str:
        """The next packet that comes; acknowledgements are passed over. EOFError when the stub has gone."""
        while (found := re.search(rb"\$([^#]*)#..", self._unread, re.DOTALL)) is None:
            self._more()
        self._unread = self._unread[found.end() :]
        return found[1].decode("latin-1")

    def byte(self) -> bytes:
        """The next byte that comes."""
        while not self._unread:
            self._more()
        first, self._unread = self._unread[:1], self._unread[1:]
        return first

    def ask(self, payload: bytes | str) -> str:
        """Send a packet; its answer."""
        self.send(payload)
        return self.answer()

    def word(self, address: int) -> int:
        """The word of guest memory at linear `address`."""
        return int.from_bytes(bytes.fromhex(self.ask(f"m{address:x},4")), "little")

    def interrupt(self) -> str:
        """Stop the guest as Ctrl-C does; where it stopped, without what the console was told before."""
        self.raw(b"\x03")
        while (answer := self.answer()).startswith("O"):
            pass
        return answer

    def select(self, thread: int) -> None:
        """Look at this thread from now on."""
        assert self.ask(f"Hg{thread:x}") == "OK"

    def register(self, number: int) -> int:
        """A register by its number, of the thread that was selected or stopped."""
        return int.from_bytes(bytes.fromhex(self.ask(f"p{number:x}")), "little")

    def monitor(self, command: str) -> str:
        """What a command of `monitor` answers."""
        self.send(f"qRcmd,{command.encode().hex()}")
        text = ""
        while (answer := self.answer()) != "OK":
            assert answer.startswith("O"), answer
            text += bytes.fromhex(answer[1:]).decode()
        return text

    def go_to(self, address: int) -> None:
        """Run to a breakpoint at linear `address`, and remove it."""
        assert self.ask(f"Z0,{address:x},1") == "OK"
        assert self.ask("vCont;c").startswith("T05swbreak:;")
        assert self.ask(f"z0,{address:x},1") == "OK"
        assert self.register(NUMBERS["eip"]) == address

    def finish(self) -> None:
        """Let the guest go on to its power-off."""
        assert self.ask("vCont;c") == "W00"

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self._unread += data


class Served:
    """A guest that runs in a thread of this process, open for debuggers. `run` is what that thread does."""

    def __init__(
        self, image: bytes, *, wait: bool, vcpus: int, slice_instructions: int, reversible: bool, beside: str
    ) -> None:
        self._beside = beside
        self._reversible = reversible
        self.history: History
        self.journal = RevisableRecorder()
        self.records: list[str] = []
        """What was traced, if the run can be gone back in."""
        self._image = image
        self._wait = wait
        self._vcpus = vcpus
        self._slice = slice_instructions
        self.listener = Listener(Address(LOOPBACK, 0))
        self.port = self.listener.address.port
        self.machine: Machine
        self.domain: Domain
        self.ending: Ending | None = None
        self.failure: BaseException | None = None
        self.audit: list[str] = []
        self.console = ""
        self.crash_report = ""
        self._thread = threading.Thread(target=self._run)
        self._ready = threading.Event()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(HOST_TIMEOUT)

    def symbol(self, name: str) -> int:
        """The linear address of a symbol of its kernel."""
        address = self.domain.image.symbols.address_of(name)
        assert address is not None, name
        return address

    def end(self) -> None:
        """Wait for the guest's end. Raises what its thread has raised."""
        self._thread.join(HOST_TIMEOUT)
        assert not self._thread.is_alive()
        if self.failure is not None:
            raise self.failure

    def type(self, keys: bytes) -> None:
        """Input for its console, if the run can be gone back in."""
        self.machine.post(lambda: self.journal.feed(keys))

    def _keep_history(self) -> History | None:
        if not self._reversible:
            return None
        self.journal.begin(self.domain.console, self.machine.platform.clock.now)
        self.machine.keep(self.journal)
        self.machine.trace.subscribe(lambda record: self.records.append(line(record)), UNHINDERED)
        self.history = History(self.machine, self.domain, self.journal)
        return self.history

    def _run(self) -> None:
        try:
            memory = 8 << 20
            size = Machine.size_for(memory, memory)
            with Machine(size, slice_instructions=self._slice, seed=int(self._beside != "")) as self.machine:
                config = DomainConfig(memory=memory, vcpus=self._vcpus)
                self.domain = self.machine.create(load_image(self._image), config)
                if self._beside:
                    other = DomainConfig("beside", memory)
                    self.machine.create(load_image(kernel_image(self._beside)), other)
                server = Server(self.machine, self.domain, self.listener, self._keep_history())
                if self._wait:
                    server.wait()
                self._ready.set()
                self.ending = self.machine.run(timeout=HOST_TIMEOUT)
                server.close()
                self.domain = self.machine.domains.get(self.domain.domid, self.domain)
                self.audit = self.machine.audit()
                self.console = self.domain.console_output().decode()
                self.crash_report = self.domain.crash_report
        except BaseException as failure:
            self.failure = failure
        finally:
            self._ready.set()
            self.listener.close()


@contextmanager
def served(
    guest: str | bytes,
    *,
    wait: bool = True,
    vcpus: int = 1,
    slice_instructions: int = 0,
    reversible: bool = False,
    beside: str = "",
) -> Iterator[Served]:
    """A kernel (its source, or an image) open for debuggers, `beside` another one if that is given, and
    `reversible` for them. Whatever happens, its thread ends."""
    image = kernel_image(guest) if isinstance(guest, str) else guest
    guest_thread = Served(
        image,
        wait=wait,
        vcpus=vcpus,
        slice_instructions=slice_instructions,
        reversible=reversible,
        beside=beside,
    )
    guest_thread.start()
    try:
        yield guest_thread
    finally:
        if guest_thread.failure is None:
            guest_thread.machine.interrupt()
        guest_thread.end()


class Boot:
    """`paravane boot ... --gdb :0`, or another verb, in a process of its own."""

    def __init__(self, *arguments: str, wait: bool = True, verb: str = "boot") -> None:
        options = ["--gdb", ":0", *(["--gdb-wait"] if wait else [])]
        self._process = forked.start((verb, *options, *arguments))
        assert self._process.stderr is not None
        line = self._process.stderr.readline().decode()
        found = re.search(r"target remote [^ ]*:(\d+)$", line.rstrip())
        if found is None:
            self.kill()
            raise AssertionError(line)
        self.port = int(found[1])

    @property
    def console(self) -> IO[bytes]:
        """Its stdout, to be read before `end` has the rest."""
        assert self._process.stdout is not None
        return self._process.stdout

    def complaint(self) -> str:
        """The next line of its stderr."""
        assert self._process.stderr is not None
        return self._process.stderr.readline().decode().rstrip("\n")

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: status, stdout, the rest of stderr."""
        out, errors = self._process.communicate(timeout=HOST_TIMEOUT)
        return self._process.wait(), out.decode(), errors.decode()

    def interrupt(self) -> None:
        """As Ctrl-C would."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """At the end of a test, however it ended."""
        self._process.kill()
        self._process.communicate()


def gdb(port: int, *commands: str, folder: Path | None = None) -> str:
    """Have the real gdb connect and run these commands, one after the other, in batch mode: what it prints.
    Errors of a command end it; gdb is given no file, and no start-up file of a user's."""
    words = ["set debuginfod enabled off", "set confirm off", "set height 0", "set width 0"]
    words += [f"target remote {LOOPBACK}:{port}", *commands]
    command = [tool("gdb"), "-nx", "-batch", *(word for line in words for word in ("-ex", line))]
    done = subprocess.run(
        command,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=HOST_TIMEOUT,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C", "DEBUGINFOD_URLS": ""},
        stdin=subprocess.DEVNULL,
    )
    return done.stdout
