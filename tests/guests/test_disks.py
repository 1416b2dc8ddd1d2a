"""Disks as kernels and users meet them: GRUB, the kernel `block`, .cfg files, hot-plug."""

from __future__ import annotations

import os
import random
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from paravane import (
    Action,
    DomainConfig,
    Machine,
    OnEnd,
    ShutdownReason,
    StopReason,
    guest_kernels,
    load_image,
)
from paravane.asm import build
from paravane.devices.block import Disk
from paravane.grants import GrantLimits
from paravane.lives import QUICK_LIVES
from paravane.testing.expectation import Expected
from paravane.testing.matching import difference
from paravane.tools.status import Status
from paravane.trace import DomainEvent, DomainRecord, Kind
from tests.support.boot import HOST_TIMEOUT, boot, finished, paravane
from tests.support.grub import coreutils, lines, standalone
from tests.support.machines import Machines
from tests.support.needs import tool
from tests.support.small_machines import image

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.guest_kernels import GuestKernel
    from paravane.trace import Record

DATA = random.Random("data").randbytes(300_001)
ENVIRONMENT = b"# GRUB Environment Block\n".ljust(1024, b"#")
POWEROFF = """
    .include "runtime.inc"
    XEN_NOTES short
    .text
main:
    ret
"""
REBOOT = """
    .include "runtime.inc"
    XEN_NOTES again
    .text
main:
    movl $SHUTDOWN_reboot, %eax
    jmp shutdown
"""


@pytest.fixture(scope="module")
def block() -> GuestKernel:
    return guest_kernels.load("block")


def ext2(folder: Path, image: Path, **files: bytes) -> Path:
    """An ext2 file system with these files, made by the host's own tool."""
    root = folder / "root"
    root.mkdir()
    for name, data in files.items():
        (root / name).write_bytes(data)
    command = [tool("mke2fs"), "-q", "-F", "-t", "ext2", "-d", str(root), str(image), "8M"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return image


def test_grub_reads_files_and_keeps_its_environment(tmp_path: Path) -> None:
    """Two boots by the command: what the first one saves the second one finds. Then it starts a kernel."""
    hello = build(guest_kernels.load("hello").sources)
    disk = ext2(tmp_path, tmp_path / "disk.img", data=DATA, grubenv=ENVIRONMENT, kernel=hello)
    script = """
insmod ext2
echo BEGIN
if [ -f (xen/xvda)/data ]; then echo found; fi
sha256sum (xen/xvda)/data
load_env -f (xen/xvda)/grubenv
echo boots:$boots
set boots=x$boots
save_env -f (xen/xvda)/grubenv boots
echo END
linux (xen/xvda)/kernel
boot
"""
    image = tmp_path / "grub.elf"
    image.write_bytes(standalone(script, {}, tmp_path))
    digest = coreutils("sha256sum", DATA)
    for boots in ("", "x"):
        result = paravane("boot", str(image), "--memory", "64M", "--disk", f"{disk},xvda", "--audit")
        assert result.returncode == Status.OK, result.stderr.decode()
        console = [line for line in lines(result.stdout.decode()) if line]
        said = "".join(console[console.index("BEGIN") + 1 : console.index("END")])
        assert said == f"found{digest}(xen/xvda)/databoots:{boots}"
        assert "hello from ring 1" in console[console.index("END") :]


def test_grub_lists_disks_by_their_names(tmp_path: Path) -> None:
    disks = tuple(Disk(memory=1 << 20, vdev=vdev) for vdev in ("xvda", "hdb", "xvdc1"))
    outcome = finished(boot(standalone("ls\nhalt\n", {}, tmp_path), memory=64 << 20, devices=disks))
    assert {"(xen/xvda)", "(xen/hdb)", "(xen/xvdc1)"} <= set(outcome.console.split())


def test_grub_hands_its_disk_to_the_kernel_it_loads_from_it(tmp_path: Path, block: GuestKernel) -> None:
    """The kernel connects to the very device that GRUB has used and given back. Neither needs grants of
    version 2, which this domain may not have."""
    disk = ext2(tmp_path, tmp_path / "disk.img", kernel=build(block.sources))
    before = disk.read_bytes()
    script = "insmod ext2\nlinux (xen/xvda)/kernel\nboot\n"
    config = DomainConfig(memory=64 << 20, devices=(Disk(disk, cow=True),), grants=GrantLimits(version=1))
    with Machine(Machine.size_for(config.memory)) as machine:
        domain = machine.create(load_image(standalone(script, {}, tmp_path)), config)
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert domain.reason is ShutdownReason.poweroff, domain.crash_report
        assert machine.audit() == []
        printed = lines(domain.console_output().decode())
    first = "xvda: 16384 sectors of 512 bytes"
    wanted = "\n".join([first, *block.expected.splitlines()[1:]])
    shown = "\n".join(filter(None, printed[printed.index(first) :]))
    assert difference(Expected(wanted), shown) == []
    assert disk.read_bytes() == before


@pytest.mark.parametrize("counted", [0, 1_000_000])
def test_block_writes_its_numbers_into_a_file(tmp_path: Path, block: GuestKernel, counted: int) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(b"?" * (4 << 20))
    finished(boot(build(block.sources), memory=4 << 20, devices=(Disk(path),), slice_instructions=counted))
    data = path.read_bytes()
    discarded, written = 256 * 512, 4096 * 512
    numbers = b"".join(number.to_bytes(4, "little") for number in range(discarded // 4, written // 4))
    assert data == bytes(discarded) + numbers + b"?" * (len(data) - written)


def test_a_domain_that_has_no_disk_says_so(block: GuestKernel) -> None:
    assert finished(boot(build(block.sources), memory=4 << 20)).console == "this domain has no xvda\n"


def test_domains_with_disks_run_side_by_side(tmp_path: Path, block: GuestKernel) -> None:
    """Each on a disk of its own, all over one base: nobody's writes are another one's."""
    base = tmp_path / "base.img"
    base.write_bytes(b"?" * (4 << 20))
    base.chmod(0o444)
    machines = Machines(tmp_path)
    (tmp_path / "block.elf").write_bytes(build(block.sources))
    names = [f"one{number}" for number in range(3)]
    for name in names:
        (tmp_path / f"{name}.cfg").write_text(
            f"name='{name}'\nkernel='block.elf'\nmemory=4\ndisk=['base.img,xvda,cow={name}.cow']\n"
        )
    status, printed, errors = machines.do("run", *(f"{name}.cfg" for name in names))
    assert status == Status.OK, errors
    for name in names:
        assert f"{name} | refused beyond the end" in printed
        assert (tmp_path / f"{name}.cow").is_file()
    assert base.read_bytes() == b"?" * (4 << 20)


def test_no_disk_that_the_host_waits_for_stops_another_domain(
    tmp_path: Path, block: GuestKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host's disk answers the first domain only when the second one, which came later, has ended."""
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(4 << 20))
    ended, waited = threading.Event(), list[bool]()
    write = os.pwritev

    def pwritev(*arguments: object) -> int:
        waited.append(ended.wait(HOST_TIMEOUT))
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "pwritev", pwritev)
    with Machine(Machine.size_for(4 << 20, 4 << 20)) as machine:
        slow = machine.create(
            load_image(build(block.sources)), DomainConfig(memory=4 << 20, devices=(Disk(path),))
        )
        other = machine.create(image(POWEROFF), DomainConfig(memory=4 << 20))

        def note(record: Record) -> None:
            if isinstance(record, DomainRecord) and record.domid == other.domid:
                ended.set()

        machine.trace.subscribe(note, (Kind.DOMAIN,))
        assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
        assert b"refused beyond the end" in slow.console_output()
    assert len(waited) >= 128
    assert all(waited)


def test_what_is_no_disk_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.cfg").write_text("name='x'\nkernel='hello'\ndisk=['gone.img,xvda']\n")
    machines = Machines(tmp_path)
    status, _, errors = machines.do("run", "x.cfg")
    assert (status, errors) == (Status.USAGE, "paravane: x.cfg: gone.img: No such file or directory\n")
    status, _, errors = machines.do("boot", "hello", "--disk", "gone.img,xvda")
    assert (status, errors) == (Status.USAGE, "paravane: gone.img: No such file or directory\n")
    status, _, errors = machines.do("boot", "hello", "--disk", "gone.img")
    assert status == Status.USAGE
    assert "--disk: disk 'gone.img': what does the guest call it?" in errors
    status, _, errors = machines.do("boot", "hello", "--disk", "x.cfg,xvda", "--trace", "x.cfg")
    assert status == Status.USAGE
    assert "x.cfg" in errors


def test_disks_come_and_go_from_another_terminal(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    (tmp_path / "data.img").write_bytes(bytes(1 << 20))
    with machines.running(machines.domain("web"), lines=("ready",)):
        ctl = machines.do
        assert ctl("ctl", "disk-attach", "web", "data.img,xvdb") == (Status.OK, "", "")
        status, _, errors = ctl("ctl", "disk-attach", "web", "ram:1M,xvdb")
        assert (status, errors) == (Status.ERRORS, "paravane: domain 1 has a device vbd/51728 already\n")
        status, _, errors = ctl("ctl", "disk-attach", "web", "data.img,xvdc")
        assert (status, errors) == (
            Status.ERRORS,
            f"paravane: {tmp_path}/data.img is in use by another disk\n",
        )
        assert ctl("ctl", "disk-attach", "web", "data.img")[0] == Status.USAGE
        assert ctl("ctl", "block-list", "web", "nobody") == (
            Status.ERRORS,
            "Vdev  BE  handle state evt-ch ring-ref BE-path                       \n"
            "51728 0   1      1     -1     -1       /local/domain/0/backend/vbd/1/51728\n",
            "paravane: there is no domain 'nobody'\n",
        )
        status, _, errors = ctl("ctl", "disk-detach", "web", "xvdc")
        assert (status, errors) == (Status.ERRORS, "paravane: web has no disk xvdc\n")
        assert ctl("ctl", "disk-detach", "web", "xvdb") == (Status.OK, "", "")
        assert ctl("ctl", "disk-attach", "web", "data.img,xvdc") == (Status.OK, "", "")
        assert ctl("ctl", "disk-detach", "web", "xvdc", "--force") == (Status.OK, "", "")


@pytest.mark.parametrize("action", [Action.RESTART, Action.RENAME_RESTART])
def test_a_restarted_domain_has_the_disks_that_it_had(tmp_path: Path, action: Action) -> None:
    """Those it was given meanwhile too; each life opens them anew."""
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1 << 20))
    with Machine(Machine.size_for(*[4 << 20] * 8)) as machine:
        config = DomainConfig(memory=4 << 20, on_end=OnEnd(reboot=action), devices=(Disk(path),))
        lives: list[list[str]] = []

        def note(record: Record) -> None:
            if isinstance(record, DomainRecord) and record.event is DomainEvent.ENDED:
                lives.append([device.name for device in machine.domains[record.domid].devices])

        machine.trace.subscribe(note, (Kind.DOMAIN,))
        machine.attach(machine.create(image(REBOOT), config), Disk(memory=1 << 20, vdev="xvdb"))
        machine.run(timeout=HOST_TIMEOUT)
        assert lives == [["vbd/51712", "vbd/51728"]] * QUICK_LIVES
