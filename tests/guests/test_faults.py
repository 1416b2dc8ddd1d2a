"""Faults that a seed decides: each is answered as Xen and its backends do, told, and the same every time."""

from __future__ import annotations

import re
import shlex
from functools import cache
from typing import TYPE_CHECKING

import pytest

from paravane import DomainConfig, Machine, RefusalRecord, StopReason, guest_kernels
from paravane.chosen import choose
from paravane.devices.block import Disk
from paravane.devices.net.vif import Vif
from paravane.machine import DETERMINISTIC_SLICE
from paravane.tools.cli import main
from paravane.variation import FAULTS, Variation
from tests.support.boot import HOST_TIMEOUT

if TYPE_CHECKING:
    from paravane import Image
    from paravane.devices.xenbus import DeviceConfig
    from paravane.faults import Fault

MEMORY = 8 << 20


@cache
def image_of(name: str) -> Image:
    return choose(guest_kernels.load(name).sources[0], [], {}).image


class Run:
    """A kernel of those that come with it, under a seed, to its end."""

    def __init__(
        self,
        name: str,
        seed: int,
        variation: Variation,
        *devices: DeviceConfig,
        cmdlines: tuple[str, ...] = (),
    ) -> None:
        image = image_of(name)
        words = cmdlines or ("",)
        with Machine(
            Machine.size_for(*[MEMORY] * len(words)),
            seed=seed,
            slice_instructions=DETERMINISTIC_SLICE,
            variation=variation,
        ) as machine:
            self.records: list[RefusalRecord] = []
            machine.trace.subscribe(self._note)
            domains = [
                machine.create(image, DomainConfig(memory=MEMORY, cmdline=line, devices=devices[at : at + 1]))
                for at, line in enumerate(words)
            ]
            self.reason = machine.run(timeout=HOST_TIMEOUT).reason
            self.consoles = [domain.console_output().decode() for domain in domains]
            self.count = machine.nr_faults
            self.faults = machine.first_faults
            self.audit = machine.audit()
            self.ended_at = machine.platform.clock.now()

    @property
    def told(self) -> list[tuple[str, str, str]]:
        """What the trace says of faults."""
        return [(record.request, record.errno.name, record.sentence) for record in self.records]

    def _note(self, record: object) -> None:
        if isinstance(record, RefusalRecord) and record.request.startswith("fault "):
            self.records.append(record)


def waits(fault: Fault) -> bool:
    return " waits " in fault.sentence


@pytest.mark.parametrize("kind", ["grants", "events", "store"])
def test_what_is_refused_is_told_and_the_same_each_time(kind: str) -> None:
    variation = Variation(faults=(kind,))
    found = next(run for run in (Run(kind, seed, variation) for seed in range(1, 40)) if run.count)
    errno = {"grants": "ENOMEM", "events": "ENOSPC", "store": "EAGAIN"}[kind]
    assert {(request, name) for request, name, _ in found.told} == {(f"fault {kind}", errno)}
    assert [f"injected: {fault.sentence}" for fault in found.faults] == [one[2] for one in found.told]
    assert all(record.vcpu == 0 and record.place is not None for record in found.records)
    assert found.audit == []


def test_a_disk_that_is_slow_is_waited_for() -> None:
    disk = Disk(memory=4 << 20)
    plain = Run("block", 0, Variation(), disk)
    assert "discarded, and zero" in plain.consoles[0]
    variation = Variation(faults=("disk",), most_faults=2)
    slow = next(
        run
        for run in (Run("block", seed, variation, disk) for seed in range(1, 40))
        if run.count == 2 and all(map(waits, run.faults))
    )
    longest = max(float(fault.sentence.split()[-2]) for fault in slow.faults)
    assert slow.ended_at >= longest * 1e6
    said = [re.sub("[0-9]+", "N", run.consoles[0]) for run in (plain, slow)]
    assert said[0] == said[1]
    assert {(request, errno) for request, errno, _ in slow.told} == {("fault disk", "EAGAIN")}


def test_a_disk_that_fails_answers_so() -> None:
    variation = Variation(faults=("disk",), most_faults=1)
    disk = Disk(memory=4 << 20)
    failed = next(
        run
        for run in (Run("block", seed, variation, disk) for seed in range(1, 40))
        if run.count and not waits(run.faults[0])
    )
    assert "the disk has failed" in failed.consoles[0]
    ((request, errno, sentence),) = failed.told
    assert (request, errno) == ("fault disk", "EIO")
    assert re.fullmatch(r"injected: [A-Z_]+ of [0-9]+ bytes at [0-9]+ fails", sentence)


def test_packets_are_lost_between_two_domains() -> None:
    sides = ("ip=10.0.0.1 peer=10.0.0.2 pings=40", "serve ip=10.0.0.2")
    lossy = next(
        run
        for run in (
            Run("net", seed, Variation(faults=("net",)), Vif(), Vif(), cmdlines=sides) for seed in range(1, 9)
        )
        if run.count > 3
    )
    asked = lossy.consoles[0]
    assert asked.count("came back") + asked.count("is lost") == 40
    assert asked.count("is lost") >= 1
    assert {(request, errno) for request, errno, _ in lossy.told} == {("fault net", "ENOBUFS")}


@pytest.mark.parametrize("most", [0, 2])
def test_there_are_no_more_than_there_may_be(most: int) -> None:
    variation = Variation(faults=("disk",), most_faults=most)
    runs = [Run("block", seed, variation, Disk(memory=4 << 20)) for seed in (1, 2, 3)]
    assert max(run.count for run in runs) == most


def test_kernels_that_ask_for_nothing_meet_nothing() -> None:
    run = Run("hello", 1, Variation(faults=FAULTS))
    assert (run.reason, run.count, run.faults) == (StopReason.DONE, 0, ())


def test_a_balloon_that_looks_at_no_answer_is_found_within_few_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(("explore", "shortage", "--runs", "20")) == 0
    capsys.readouterr()
    assert main(("explore", "shortage", "--runs", "20", "--faults", "memory")) == 1
    told = capsys.readouterr().out
    assert "panic: update_va_mapping failed" in told
    assert re.search(r"^    [0-9.]+ memory: no extent of order 0 is free$", told, re.MULTILINE)
    (again,) = re.findall(r"^again: paravane (.*)$", told, re.MULTILINE)
    assert "--faults memory" in again
    assert main(shlex.split(again)) == 3
    capsys.readouterr()
    assert main(("explore", "shortage", "-D", "MENDED", "--runs", "20", "--faults", "all")) == 0
    assert re.search(
        r"^    faults that were injected: [0-9]+ of memory$", capsys.readouterr().out, re.MULTILINE
    )


def test_a_fault_that_is_not_needed_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("explore", "block", "--runs", "9", "--faults", "all")) == 1
    told = capsys.readouterr().out
    found = re.search(r"^([0-9]+) faults? leads? to it, of ([0-9]+) in the run", told, re.MULTILINE)
    assert found, told
    assert int(found[1]) < int(found[2])
    (again,) = re.findall(r"^again: paravane (explore block .*)$", told, re.MULTILINE)
    assert "--faults disk" in again
    assert main(shlex.split(again)) == 1
    assert "panic: the disk has failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("explore", "hello", "--faults", "memory,disc"), "there are no faults of 'disc': memory, grants,"),
        (("explore", "hello", "--most-faults", "3"), "--most-faults is for --faults"),
        (("boot", "hello", "--faults"), "--faults are for --deterministic with a --seed"),
        (("explore", "hello", "--runs", "99999999999999999999"), "seeds end at"),
        (("explore", "paint"), "paint has a framebuffer"),
        (("explore", "echo"), "echo has consoles elsewhere"),
        (("explore", "net", "--vif", "passt"), "meets what no seed decides"),
        (("explore", "net", "--vif", "pcap=x"), "would be written by every run"),
        (("explore", "net", "--vif", "colour=red"), "--vif: colour=red is no setting"),
        (("explore", "block", "--disk", "nothing"), "--disk: "),
        (("explore", "block", "--disk", "a,xvda,cow=b"), "would be another file after each run"),
        (("explore", "block", "--disk", "a,xvda", "--dask", "tcp://a:1"), "have ram: disks only"),
    ],
)
def test_what_cannot_be_is_said(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("faults", [("disc",), ("disk", "memory"), ("disk", "disk")])
def test_a_variation_knows_its_faults(faults: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="faults are some of"):
        Variation(faults=faults)
