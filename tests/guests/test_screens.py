"""The kernel `paint`, as a real VNC viewer (vncdotool) and `ctl screenshot` see it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

from PIL import Image

from paravane import Action, DomainConfig, Machine, OnEnd, StopReason, Vfb, guest_kernels, load_image
from paravane.asm import build
from paravane.lives import QUICK_LIVES
from paravane.tools.screens import framebuffers
from paravane.tools.status import Status
from paravane.trace import DomainEvent, DomainRecord, Kind
from tests.support.boot import HOST_TIMEOUT
from tests.support.machines import Machines
from tests.support.small_machines import image

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.trace import Record

WIDTH, HEIGHT = 320, 200
MARK = (255, 255, 255)
REBOOT = """
    .include "runtime.inc"
    XEN_NOTES again
    .text
main:
    movl $SHUTDOWN_reboot, %eax
    jmp shutdown
"""


def vncdo(folder: Path, port: str, *actions: str) -> None:
    """What the viewer does, one after the other."""
    command = [sys.executable, "-m", "vncdotool.command", "--server", f"127.0.0.1::{port}", *actions]
    done = subprocess.run(
        command, cwd=folder, timeout=HOST_TIMEOUT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def pixels(path: Path) -> list[tuple[int, int, int]]:
    with Image.open(path) as picture:
        assert picture.size == (WIDTH, HEIGHT)
        data = picture.convert("RGB").tobytes()
    return [(data[at], data[at + 1], data[at + 2]) for at in range(0, len(data), 3)]


def test_a_viewer_sees_the_picture_and_types(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    config = machines.domain("art", "paint", memory=4, vfb="vnc=1, vncpasswd=painters")
    with machines.running(config, lines=("art | Escape ends it",)) as machine:
        machine.wait_until_told("art: VNC at 127.0.0.1:")
        found = re.search(rb"VNC at 127\.0\.0\.1:(\d+)", machine.told)
        assert found is not None
        port = found[1].decode()
        viewer = ("--password", "painters")
        vncdo(tmp_path, port, *viewer, "capture", "seen.png")
        status, _, errors = machines.do("ctl", "screenshot", "art", "-o", "kept.png")
        assert (status, errors) == (Status.OK, "")
        seen = pixels(tmp_path / "seen.png")
        assert seen == pixels(tmp_path / "kept.png")
        assert seen == [(x & 255, y, (x ^ y) & 255) for y in range(HEIGHT) for x in range(WIDTH)]
        vncdo(tmp_path, port, *viewer, "type", "hi", "move", "100", "50", "click", "1")
        machine.wait_for("art | button at 100, 50")
        status, _, errors = machines.do("ctl", "screenshot", "art", "-o", "marked.png")
        assert (status, errors) == (Status.OK, "")
        marked = pixels(tmp_path / "marked.png")
        places = {at for at in range(WIDTH * HEIGHT) if marked[at] == MARK != seen[at]}
        corners = ((0, HEIGHT - 16), (10, HEIGHT - 16), (100, 50))
        assert places == {(y + dy) * WIDTH + x + dx for x, y in corners for dy in range(8) for dx in range(8)}
        assert b"art | key 35" in machine.printed
        assert b"art | key 23" in machine.printed


def test_each_life_of_a_domain_has_its_screen_anew() -> None:
    with Machine(Machine.size_for(4 << 20)) as machine:
        config = DomainConfig(memory=4 << 20, devices=Vfb().devices, on_end=OnEnd(reboot=Action.RESTART))
        lives: list[int] = []
        domain = machine.create(image(REBOOT), config)
        (device,) = framebuffers(domain)
        assert device.server is not None

        def note(record: Record) -> None:
            if isinstance(record, DomainRecord) and record.event is DomainEvent.ENDED:
                lives.extend(one.number for one in framebuffers(machine.domains[record.domid]))

        machine.trace.subscribe(note, (Kind.DOMAIN,))
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert lives == [0] * QUICK_LIVES
        assert not machine._inbox.watching


def test_paint_runs_the_same_by_counted_instructions() -> None:
    kernel = load_image(build(guest_kernels.load("paint").sources))
    for counted in (0, 100_000):
        with Machine(Machine.size_for(4 << 20), slice_instructions=counted) as machine:
            devices = Vfb(vnc=False).devices
            domain = machine.create(kernel, DomainConfig(memory=4 << 20, devices=devices))
            assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.STALLED
            (device,) = framebuffers(domain)
            device.display.key(18, pressed=True)
            device.display.key(1, pressed=True)
            assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
            assert domain.console_output().endswith(b"key 18\nover\n")
            assert machine.audit() == []
