"""Random streams of instructions, as QEMU does them and as the monitor does: by hand as many as one likes.

    python3 -m tests.guests.random_streams --count 20000 --seed monday --sensitive rewrite --shadow wp

With `--sensitive state` they are of what that promises. Each that differs is printed with as few of its
pieces as still differ, the others being NOPs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import capstone

from paravane.full.shadow import Policy
from paravane.full.state import Sensitive
from tests.support.probes import in_monitor, in_qemu, stream_kernel
from tests.support.streams import Written, streams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.probes import Stream

A_KERNEL: Final = 100
"""Streams of one boot."""


class Comparison:
    """QEMU beside one kind of monitor. QEMU's files are in `folder`."""

    def __init__(self, folder: Path, sensitive: Sensitive, shadow: Policy) -> None:
        self._folder, self._sensitive, self._shadow = folder, sensitive, shadow

    def differences(self, of: Sequence[Stream]) -> list[dict[str, tuple[object, object]]]:
        """What is not the same, of each."""
        kernel = stream_kernel(of)
        there = in_qemu(kernel, self._folder)
        here = in_monitor(kernel, self._sensitive, self._shadow)
        assert len(there) == len(here) == len(of)
        return [one.differs(other) for one, other in zip(there, here, strict=True)]

    def smallest(self, written: Written) -> Stream:
        """The stream with NOPs for all pieces that it differs without."""
        stream = written.stream
        for start, end in reversed(list(pairwise(written.pieces))):
            nops = b"\x90" * (end - start)
            tried = stream._replace(code=stream.code[:start] + nops + stream.code[end:])
            if self.differences([tried])[0]:
                stream = tried
        return stream


def listing(stream: Stream) -> str:
    """A stream, without its NOPs."""
    machine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32)
    lines = [
        f"  {at - stream.address:#05x}  {name} {operands}"
        for at, _, name, operands in machine.disasm_lite(stream.code, stream.address)
        if name != "nop"
    ]
    head = f"ring {stream.ring}, eflags {stream.eflags:#x}, cr0 {stream.cr0:#x}, resumed {stream.resumed}"
    return "\n".join([head, *lines])


def main() -> int:
    """As the module says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=A_KERNEL)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--sensitive", type=Sensitive, default=Sensitive.REWRITE)
    parser.add_argument("--shadow", type=Policy, default=Policy.VTLB)
    parser.add_argument("--most", type=int, default=10, help="how many that differ are made small")
    options = parser.parse_args()
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(Path(folder), options.sensitive, options.shadow)
        for number in range(0, options.count, A_KERNEL):
            seed = f"{options.seed} {number}"
            by_state = options.sensitive is Sensitive.STATE
            some = streams(seed, min(A_KERNEL, options.count - number), promised_by_state=by_state)
            differ = comparison.differences([written.stream for written in some])
            for index, (written, what) in enumerate(zip(some, differ, strict=True)):
                if not what:
                    continue
                found += 1
                print(f"{seed!r} {index}: {what}", flush=True)
                if found <= options.most:
                    print(listing(comparison.smallest(written)), flush=True)
    print(f"{options.count} streams, of which {found} differ")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
