"""The verbs of the command line. What defines one is loaded when it is asked for, since most need much."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from paravane.classes import NamedTuple

if TYPE_CHECKING:
    import argparse


class Verb(NamedTuple):
    """`summary` is the line in the list of commands; `home` is "module:function", a function that adds the
    verb's arguments, description and `run` to a parser."""

    summary: str
    home: str
    aliases: tuple[str, ...] = ()

    def define(self, parser: argparse.ArgumentParser) -> None:
        module, _, function = self.home.partition(":")
        getattr(import_module(module), function)(parser)


VERBS = {
    "build": Verb("assemble a kernel", "paravane.tools.build:define"),
    "info": Verb(
        "what an image is: notes, segments, entry, hypercalls it seems to use",
        "paravane.tools.report:define_info",
    ),
    "boot": Verb("run one domain, its console on this terminal", "paravane.tools.boot.command:define"),
    "replay": Verb(
        "repeat a run that `boot --record` has kept, its console on this terminal",
        "paravane.tools.boot.replay:define",
    ),
    "restore": Verb(
        "let a saved domain go on, its console on this terminal",
        "paravane.tools.boot.restore:define",
    ),
    "run": Verb("run several domains, from xl.cfg-style files", "paravane.tools.run.command:define"),
    "ctl": Verb("list and steer the domains of a running machine", "paravane.tools.ctl.command:define"),
    "store": Verb(
        "read, write and watch xenstore of a running machine", "paravane.tools.store.command:define"
    ),
    "test": Verb(
        "run kernels and say which of them do what they promise", "paravane.tools.testing.command:define"
    ),
    "explore": Verb(
        "run a kernel under many seeds, and show the first one that breaks it",
        "paravane.tools.explore.command:define",
    ),
    "bench": Verb(
        "measure what operations cost, or many domains on a machine", "paravane.tools.bench.command:define"
    ),
    "compare": Verb(
        "what one kernel costs on Xen and on a bare PC, or with three TLBs",
        "paravane.tools.compare.command:define",
    ),
    "list": Verb(
        "the guest kernels that come with it", "paravane.tools.kernels:define", aliases=("kernels",)
    ),
    "tour": Verb(
        "the ideas of Xen one by one, each by a kernel that runs, with exercises",
        "paravane.tools.tour.command:define",
    ),
    "new": Verb("make a folder for a kernel of one's own", "paravane.tools.new_kernel:define"),
    "trace": Verb(
        "read, filter, summarise, compare and convert a trace", "paravane.tools.trace.command:define"
    ),
    "report": Verb("one HTML page of a trace, for a browser", "paravane.tools.report_page.command:define"),
    "docs": Verb("what a hypercall takes, and why it is refused", "paravane.tools.docs.command:define"),
    "completion": Verb("a script by which a shell completes all this", "paravane.tools.completion:define"),
    "disasm": Verb(
        "disassemble an image, with symbols and source lines", "paravane.tools.report:define_disasm"
    ),
}

NAMES = {name: verb for first, verb in VERBS.items() for name in (first, *verb.aliases)}
"""Every word that stands for a verb."""
