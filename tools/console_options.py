"""Consoles as users name them: `--console`, where each one is, and which of them is on this terminal."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from paravane.devices.console import (
    ConsoleSpec,
    ExtraConsole,
    ExtraConsoleDevice,
    consoles_of,
    parse_console,
)
from paravane.tools.status import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


def given(specs: Sequence[ConsoleSpec]) -> tuple[ConsoleSpec | None, tuple[ExtraConsole, ...]]:
    """The first console and the extra ones. UsageError where there are too many."""
    try:
        return consoles_of(specs)
    except ValueError as error:
        raise UsageError(f"--console: {error}") from None


def files_of(config: DomainConfig) -> Iterator[tuple[str, Path]]:
    """The files that a domain's consoles write, each after its option."""
    for spec in _specs(config):
        for path in spec.files:
            yield "--console", Path(path)


def on_sink(config: DomainConfig, sink: Sink) -> DomainConfig:
    """A domain whose console on standard output is put out by `sink`."""

    def with_sink(device: DeviceConfig) -> DeviceConfig:
        if isinstance(device, ExtraConsole) and device.console.on_terminal:
            return replace(device, sink=sink)
        return device

    return replace(config, sink=sink, devices=tuple(map(with_sink, config.devices)))


def takes_terminal(config: DomainConfig) -> bool:
    """Whether one of its consoles is on standard input and output."""
    return config.console is None or any(spec.on_terminal for spec in _specs(config))


def on_terminal(domain: Domain, config: DomainConfig) -> Console | None:
    """The console of a new domain that standard input is for, None when all are elsewhere."""
    if config.console is None or config.console.on_terminal:
        return domain.console
    for number, device in _extras(domain):
        spec = next(
            one.console for one in config.devices if isinstance(one, ExtraConsole) and one.number == number
        )
        if spec.on_terminal:
            return device
    return None


def places(domain: Domain) -> Iterator[str]:
    """A sentence for each of a new domain's consoles that somebody has to be told the place of."""
    if domain.console_end is not None and domain.console_end.address:
        yield f"the console of {domain.name} is at {domain.console_end.address}"
    for number, device in _extras(domain):
        if device.end.address:
            yield f"console {number} of {domain.name} is at {device.end.address}"


def _extras(domain: Domain) -> Iterator[tuple[int, ExtraConsoleDevice]]:
    for attachment in domain.devices:
        if isinstance(attachment.device, ExtraConsoleDevice):
            yield attachment.device.number, attachment.device


def _specs(config: DomainConfig) -> Iterator[ConsoleSpec]:
    if config.console is not None:
        yield config.console
    for device in config.devices:
        if isinstance(device, ExtraConsole):
            yield device.console


def _console(text: str) -> ConsoleSpec:
    try:
        return parse_console(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
