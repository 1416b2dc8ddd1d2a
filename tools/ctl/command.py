"""`paravane ctl`: list and steer the domains of a machine that runs, from another terminal."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from paravane.classes import dataclass
from paravane.text import shown
from paravane.tools import manual
from paravane.tools.ctl.attach import attach
from paravane.tools.ctl.endpoint import chosen, connect, machines, store_path
from paravane.tools.ctl.protocol import Request, RequestError, outcome
from paravane.tools.status import Status, UsageError
from paravane.tools.streams import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

PATIENCE: Final = 60.0
"""Seconds in which a machine answers."""

_LARGEST: Final = 16 << 20
"""Bytes of the longest answer."""

_EPILOG = manual.epilog(
    """\
A domain is meant by its name, or by its number. Without --machine it is the one machine
of yours that runs. The letters of a state are those of `xl list`: r running, b blocked,
p paused, s shut down (and then r rebooted, c crashed, s suspended, w watchdog).""",
    statuses=(
        (Status.OK, "it is done, or asked for"),
        (Status.ERRORS, "one of the domains could not be dealt with, or the machine does not answer"),
        (Status.USAGE, "bad usage, or there is no such machine"),
    ),
    environment=(manual.RUNTIME_DIR,),
    examples=(
        ("paravane ctl list", ""),
        ("paravane ctl pause web db", ""),
        ("paravane ctl unpause web db", ""),
        ("paravane ctl sched-credit -d web -w 512", "twice the usual weight"),
        ("paravane ctl console db", "Ctrl-] leaves it"),
        ("paravane ctl disk-attach db data.img,xvdb", ""),
        ("paravane ctl disk-detach db xvdb", ""),
        ("paravane ctl vif-attach db bridge=br0,pcap=db.pcap", ""),
        ("paravane ctl screenshot web -o web.png", ""),
        ("paravane ctl save web web.save", "goes on with `paravane restore web.save`"),
    ),
)

_DOMAIN: Final = "its name, or its number"
_MIB: Final = "a number of MiB"


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb about a domain. `argument` is what follows the domain, and `help` what that is; without it there
    may be several domains. `forced`: with --force it is done without asking the kernel."""

    summary: str
    argument: str = ""
    help: str = ""
    forced: bool = False


VERBS: Final = {
    "pause": Verb("let none of its vcpus run"),
    "unpause": Verb("undo a pause"),
    "shutdown": Verb("ask its kernel to power off"),
    "reboot": Verb("ask its kernel to reboot"),
    "suspend": Verb("ask its kernel to suspend itself"),
    "resume": Verb("have one that has suspended itself go on"),
    "sysrq": Verb("send its kernel a magic SysRq key", "LETTER", "a letter or digit, as `xl sysrq` takes it"),
    "destroy": Verb("take it away at once"),
    "dump": Verb("print where each vcpu is and what it waits for, or how it crashed"),
    "mem-set": Verb("ask its balloon for so much memory", "MIB", _MIB),
    "mem-max": Verb("bound its memory", "MIB", _MIB),
    "block-list": Verb("show its disks: number, state, event channel, ring, nodes"),
    "disk-attach": Verb(
        "give it a disk", "DISK", "FILE,xvdb[,ro][,cow[=FILE]], ram:SIZE,xvdb, or as in xl.cfg"
    ),
    "disk-detach": Verb(
        "take a disk away, once its kernel lets go", "VDEV", "what the guest calls it, as xvdb", forced=True
    ),
    "vcpu-set": Verb("ask its kernel to use so many of its vcpus", "VCPUS", "a number of vcpus"),
    "rename": Verb("call it by another name", "NEW-NAME", "a name that no other domain has"),
    "network-list": Verb("show its network interfaces: number, address, state, event channel, rings, nodes"),
    "vif-attach": Verb(
        "give it a network interface", "VIF", "bridge=br0[,mac=..][,rate=..][,pcap=FILE], or as in xl.cfg"
    ),
    "vif-detach": Verb(
        "take a network interface away, once its kernel lets go",
        "DEVID",
        "its number, from 0 on",
        forced=True,
    ),
}


def define(parser: argparse.ArgumentParser) -> None:
    """`paravane ctl VERB DOMAIN...`."""
    parser.description = "List and steer the domains of a machine that `paravane run` started."
    parser.epilog = _EPILOG
    group = parser.add_argument_group("the machine")
    group.add_argument("--machine", metavar="NAME", help="which machine (default: the only one)")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    verbs.add_parser("list", help="its domains: name, number, MiB, vcpus, state, processor time")
    verbs.add_parser("machines", help="the machines that run")
    verbs.add_parser("store-socket", help="where xenstore listens, for XENSTORED_PATH of Xen's own tools")
    for name, verb in VERBS.items():
        one = verbs.add_parser(name, help=verb.summary)
        if verb.argument:
            one.add_argument("domain", metavar="DOMAIN", help=_DOMAIN)
            one.add_argument("argument", metavar=verb.argument, help=verb.help)
            if verb.forced:
                how = one.add_argument_group("how")
                how.add_argument("--force", action="store_true", help="take it away whatever the kernel does")
        else:
            one.add_argument("domains", metavar="DOMAIN", nargs="+", help=_DOMAIN)
    console = verbs.add_parser("console", help="join its console; Ctrl-] leaves it")
    console.add_argument("domain", metavar="DOMAIN", help=_DOMAIN)
    which = console.add_argument_group("which")
    which.add_argument(
        "-n", "--number", metavar="NUM", default="0", help="which of its consoles (default: 0, the first)"
    )
    screenshot = verbs.add_parser("screenshot", help="save what its framebuffer shows, as PNG")
    screenshot.add_argument("domain", metavar="DOMAIN", help=_DOMAIN)
    picture = screenshot.add_argument_group("the picture")
    picture.add_argument("-o", "--output", metavar="FILE", required=True, help="where it goes")
    picture.add_argument(
        "-n", "--number", metavar="N", default="0", help="which framebuffer, if it has several (default: 0)"
    )
    snapshot = verbs.add_parser("snapshot", help="write the whole machine to a file as it is; it goes on")
    snapshot.add_argument("file", metavar="FILE", help="where it goes, for `paravane restore`")
    save = verbs.add_parser("save", help="have it suspend itself, write it to a file, and take it away")
    save.add_argument("domain", metavar="DOMAIN", help=_DOMAIN)
    save.add_argument("file", metavar="FILE", help="where it goes, in the form of `xl save`")
    after = save.add_argument_group("afterwards").add_mutually_exclusive_group()
    after.add_argument("-c", "--checkpoint", action="store_true", help="have it go on")
    after.add_argument("-p", "--paused", action="store_true", help="leave it there, suspended")
    share = verbs.add_parser("sched-credit", help="show or change shares of the processor")
    shares = share.add_argument_group("shares")
    shares.add_argument("-d", "--domain", metavar="DOMAIN", help=f"{_DOMAIN} (default: show all)")
    shares.add_argument("-w", "--weight", metavar="WEIGHT", help="its weight, 1 to 65535; 256 is usual")
    shares.add_argument("-c", "--cap", metavar="CAP", help="at most so many percent of one processor; 0: all")
    parser.set_defaults(run=_ctl)


def _ctl(options: argparse.Namespace) -> int:
    running = machines()
    if options.verb == "machines":
        for name in running:
            print(name)
        return Status.OK
    machine = chosen(running, options.machine)
    if options.verb == "store-socket":
        print(store_path(machine))
        return Status.OK
    connection = _Connection(machine)
    try:
        return _perform(connection, options)
    except RequestError as error:
        say(str(error))
        return Status.ERRORS
    except OSError as error:
        raise UsageError(f"the machine does not answer: {error.strerror or error}", Status.ERRORS) from None
    finally:
        connection.socket.close()


def _perform(connection: _Connection, options: argparse.Namespace) -> int:
    if options.verb == "list":
        for line in table(connection.ask(Request("list"))):
            print(line)
        return Status.OK
    if options.verb == "console":
        connection.ask(Request("console", options.domain, options.number))
        return attach(connection.socket, connection.rest)
    if options.verb == "screenshot":
        # The machine writes it, which may run in another folder.
        place = f"{options.number},{os.path.abspath(options.output)}"
        connection.ask(Request("screenshot", options.domain, place))
        return Status.OK
    if options.verb == "snapshot":
        # The machine writes it, which may run in another folder.
        connection.ask(Request("snapshot", argument=os.path.abspath(options.file)))
        return Status.OK
    if options.verb == "save":
        return _save(connection, options)
    if options.verb == "sched-credit":
        return _shares(connection, options)
    if VERBS[options.verb].argument:
        connection.ask(Request(options.verb, options.domain, _argument(options)))
        return Status.OK
    status = Status.OK
    # Numbers of a domain's devices mean nothing without what is above them.
    listings = import_module("paravane.tools.ctl.listings") if options.verb.endswith("-list") else None
    if listings is not None:
        print(listings.HEADERS[options.verb])
    for domain in options.domains:
        try:
            text = connection.ask(Request(options.verb, domain))
        except RequestError as error:
            say(str(error))
            status = Status.ERRORS
        else:
            if listings is not None:
                for line in listings.lines(options.verb, text):
                    print(line)
            elif isinstance(text, str):
                print(text.removesuffix("\n"))
    return status


def _save(connection: _Connection, options: argparse.Namespace) -> int:
    after = "resume" if options.checkpoint else "keep" if options.paused else "destroy"
    try:
        connection.ask(Request("save", options.domain, f"{after},{os.path.abspath(options.file)}"))
    except TimeoutError:
        raise RequestError(f"{options.domain} did not suspend itself within {PATIENCE:.0f} seconds") from None
    return Status.OK


def _argument(options: argparse.Namespace) -> str:
    """What a machine is told. It may run in another folder, so files are named by their whole paths."""
    if options.verb == "disk-attach":
        block = import_module("paravane.devices.block")
        try:
            disk = block.located(block.parse_disk(options.argument), os.path.abspath)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return str(block.disk_text(disk))
    if options.verb == "vif-attach":
        return str(import_module("paravane.devices.net.vif").located(options.argument, os.path.abspath))
    return f"{options.argument},force" if getattr(options, "force", False) else str(options.argument)


def _shares(connection: _Connection, options: argparse.Namespace) -> int:
    """Change what a domain may have of the processor, or show it, as `xl sched-credit` does."""
    wishes = {"weight": options.weight, "cap": options.cap}
    words = [f"{name}={value}" for name, value in wishes.items() if value is not None]
    if words and options.domain is None:
        raise UsageError("say with -d whose weight or cap it is to be")
    if words:
        connection.ask(Request("sched-credit", options.domain, " ".join(words)))
        return Status.OK
    rows = connection.ask(Request("list", options.domain or ""))
    print(f"{'Name':<33} {'ID':>4} {'Weight':>6} {'Cap':>4}")
    for row in rows:
        print(f"{shown(row['name']):<33} {row['id']:>4} {row['weight']:>6} {row['cap']:>4}")
    return Status.OK


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The lines of `xl list` for what a machine answers to `list`."""
    yield f"{'Name':<40} {'ID':>5} {'Mem':>5} VCPUs\tState\tTime(s)"
    for row in rows:
        yield (
            f"{shown(row['name']):<40} {row['id']:>5} {row['memory']:>5} {row['vcpus']:>5}     "
            f"{row['state']}  {row['time']:>8.1f}"
        )


class _Connection:
    """A connection to a machine. `rest` is what has come after the last answer."""

    def __init__(self, name: str) -> None:
        try:
            self.socket = connect(name)
        except OSError as error:
            raise UsageError(f"machine {name} does not answer: {error.strerror}", Status.ERRORS) from None
        self.socket.settimeout(PATIENCE)
        self.rest = b""

    def ask(self, request: Request) -> Any:
        """What a request comes to. Raises RequestError and OSError."""
        self.socket.sendall(request.line())
        while b"\n" not in self.rest:
            data = self.socket.recv(1 << 16)
            if not data or len(self.rest) > _LARGEST:
                raise RequestError("the machine has ended")
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return outcome(line)
