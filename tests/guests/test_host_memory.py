"""A host that has no memory left: whoever makes a processor is told, and what there is goes on.

Each test has a process of its own, whose address space is bounded by what it has already and some more.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from paravane.tools.status import Status
from tests.support.boot import HOST_TIMEOUT
from tests.support.machines import Machines

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess


BOUND = """
import resource, sys
from pathlib import Path

def bound(mebibytes):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (mebibytes << 20),) * 2)
"""

MACHINE = """
from paravane import DomainConfig, Machine, asm, guest_kernels, load_image
image = load_image(asm.build(guest_kernels.load("hello").sources))
config = DomainConfig(memory=4 << 20)
with Machine(256 << 20) as machine:
    first = machine.create(image, config)
    bound(150)
    made = [first]
    try:
        while True:
            made.append(machine.create(image, config))
    except MemoryError as error:
        print(error)
    assert len(machine.domains) == len(made) < 20
    machine.destroy(made.pop())
    made.append(machine.create(image, config))
    assert not machine.audit()
    print(machine.run())
    assert all("hello from ring 1" in domain.console_output().decode() for domain in made)
"""

RUN = """
from paravane.tools.cli import main
import paravane.tools.run.session
bound(300)
sys.exit(main(["run", *sys.argv[1:]]))
"""


def bounded(program: str, *arguments: str, machines: Machines | None = None) -> CompletedProcess[str]:
    environment = os.environ if machines is None else machines.environment
    return subprocess.run(
        [sys.executable, "-c", BOUND + program, *arguments],
        cwd=None if machines is None else machines.folder,
        env={**environment, "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        timeout=HOST_TIMEOUT,
        check=False,
    )


def test_a_machine_refuses_another_domain_and_its_domains_run() -> None:
    done = bounded(MACHINE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "a domain of 4 MiB does not fit into this machine: the host has no memory for another processor",
        "every domain has ended",
    ]


def test_of_several_domains_those_that_fit_are_run(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    files = [machines.domain("big", "hello", vcpus=32), machines.domain("small", "hello")]
    done = bounded(RUN, *files, machines=machines)
    assert done.returncode == Status.ERRORS
    assert "small | hello from ring 1" in done.stdout
    assert done.stderr.splitlines() == [
        "paravane: big is not created: a domain of 8 MiB does not fit into this machine: "
        "the host has no memory for another processor",
        "paravane: small (domain 2) has ended: poweroff",
    ]


ONE = """
from paravane.tools.cli import main
import paravane.full.machine, paravane.machine, paravane.tools.boot.session
bound(1000)
sys.exit(main(["boot", *sys.argv[1:]]))
"""


def test_memory_that_the_host_has_not_is_no_output() -> None:
    """Of a domain, and of a bare PC."""
    for options in ((), ("--personality", "full")):
        done = bounded(ONE, "twice", "--memory", "3G", *options)
        assert (done.returncode, done.stdout) == (Status.ERRORS, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("paravane: the host has no ")
        assert line.endswith(" MiB of memory for a machine")
