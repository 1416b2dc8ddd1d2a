"""Consoles as users name them: `--console`, where each one is, and which of them is on this terminal."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from paravane.devices import console
from paravane.devices.console import ConsoleSpec, parse_console
from paravane.tools.consoles import console_of
from paravane.tools.status import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from paravane import Domain, DomainConfig
    from paravane.devices.console import Sink
    from paravane.devices.xenbus import DeviceConfig
    from paravane.tools.terminal import Console


def add_console_option(group: argparse._ArgumentGroup) -> None:
    """`--console`, once for each."""
    group.add_argument(
        "--console",
        action="append",
        type=_console,
        metavar="CONSOLE",
        help="where its console is: stdio, pty, tcp:[HOST:]PORT, unix:PATH or file:PATH, each with "
        ",log=FILE if it is to be kept; once more for each extra console, device/console/1 and so on "
        "(default: what the kernel of `list` asks for, else stdio)",
    )


def given(specs: Sequence[ConsoleSpec]) -> tuple[ConsoleSpec | None, tuple[console.ExtraConsole, ...]]:
    """The first console and the extra ones. UsageError where there are too many."""
    if not specs:
        return None, ()
    try:
        return console.consoles_of(specs)
    except ValueError as error:
        raise UsageError(f"--console: {error}") from None


def files_of_consoles(config: DomainConfig) -> Iterator[Path]:
    """The files that a domain's consoles write."""
    for _, spec in numbered(config):
        for path in spec.files:
            yield Path(path)


def on_sink(config: DomainConfig, sink: Sink) -> DomainConfig:
    """A domain whose console on standard output is put out by `sink`."""

    def with_sink(device: DeviceConfig) -> DeviceConfig:
        if isinstance(device, console.ExtraConsole) and device.console.on_terminal:
            return replace(device, sink=sink)
        return device

    return replace(config, sink=sink, devices=tuple(map(with_sink, config.devices)))


def numbered(config: DomainConfig) -> Iterator[tuple[int, ConsoleSpec]]:
    """All consoles of a domain to be, and their numbers."""
    yield 0, config.console or ConsoleSpec()
    for device in config.devices:
        if isinstance(device, console.ExtraConsole):
            yield device.number, device.console


def wired(config: DomainConfig, taker: Callable[[int], Callable[[bytes], None]]) -> DomainConfig:
    """A domain whose consoles each tell `taker(number)` all that comes out: where they are on standard output
    that puts it out, elsewhere it only hears of it."""

    def tapped(spec: ConsoleSpec, number: int) -> ConsoleSpec:
        return spec if spec.on_terminal else replace(spec, tap=taker(number))

    def device_with(device: DeviceConfig) -> DeviceConfig:
        if not isinstance(device, console.ExtraConsole):
            return device
        number = device.number
        return replace(device, console=tapped(device.console, number), sink=taker(number))

    return replace(
        config,
        sink=taker(0),
        console=tapped(config.console or ConsoleSpec(), 0),
        devices=tuple(map(device_with, config.devices)),
    )


def takes_terminal(config: DomainConfig) -> bool:
    """Whether one of its consoles is on standard input and output."""
    return any(spec.on_terminal for _, spec in numbered(config))


def on_terminal(domain: Domain, config: DomainConfig) -> Console | None:
    """The console of a new domain that standard input is for, None when all are elsewhere."""
    number = next((number for number, spec in numbered(config) if spec.on_terminal), None)
    return None if number is None else console_of(domain, number)


def places(domain: Domain) -> Iterator[str]:
    """A sentence for each of a new domain's consoles that somebody has to be told the place of."""
    if domain.console_end is not None and domain.console_end.address:
        yield f"the console of {domain.name} is at {domain.console_end.address}"
    for attachment in domain.devices:
        device = attachment.device
        if isinstance(device, console.ExtraConsoleDevice) and device.end.address:
            yield f"console {device.number} of {domain.name} is at {device.end.address}"


def _console(text: str) -> ConsoleSpec:
    try:
        return parse_console(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
