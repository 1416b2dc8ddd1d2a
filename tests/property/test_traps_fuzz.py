"""Random code in ring 1 and ring 3: 60,000 traps, and never ring 0, a foreign frame or an error of ours."""

import random
import zlib

from tests.support.trap_machine import FOREIGN_FRAMES, GDT, HANDLERS, KERNEL, PRESENT, USER, TrapMachine

TRAPS_WANTED = 60_000
TRAPS_PER_RUN = 40
INSTRUCTIONS_PER_RUN = 400
CODE_BYTES = 24

# Things that trap, to be mixed with noise: privileged instructions, far transfers, segment loads, int n.
_SPICES = """
    0f20c0 0f22c0 0f22e0 0f22d0 0f21f8 0f23c0 0f23f0 0f23f8 0f06 0f09 0f30 0f31 0f32 0f34 0f05 0f33 0fa2 f4 fa
    fb e442 e661 ec ed ee ef 6c 6d 6e 6f f36c f36d f36e f36f 66f36d 676c cd80 cd82 cd03 cd0e cd21 cc ce f1
    0f0b78656e0fa2 0f0b 0f01f9 0f01f8 9d 9c cf cb ca0400 8ed8 8ec0 8ed0 8ee0 8ee8 17 1f 07 0fa1 0fa9
    9a000000001100 ea000000001b00 ff1d00000500 ff2d00000500 0f00d8 0f00d0 0f0110 0f0118 0f0130 bc00000600
    bc04000000 b900000080 ba420000 bf00000500 90 d9e8 0f77 f7f1 620424 f0 f3 f2 66 67 2e 65
"""
SPICES = [bytes.fromhex(text) for text in _SPICES.split()]


def noise(source: random.Random) -> bytes:
    """One piece of code."""
    code = b""
    while len(code) < CODE_BYTES:
        spice = source.random() < 0.4
        code += source.choice(SPICES) if spice else source.randbytes(source.randint(1, 4))
    return code[:CODE_BYTES]


class Fuzz:
    """A machine that goes on after a trap, up to a number of traps a run, and checks the ring each time."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.machine = TrapMachine()
        self.traps = self.in_run = self.crashes = 0
        for page in range(GDT >> 12, (GDT >> 12) + 15):
            self.machine.map(page << 12, page, PRESENT)
        self.machine.ram.write(FOREIGN_FRAMES.start << 12, self.source.randbytes(len(FOREIGN_FRAMES) << 12))
        self.machine.resume = self.after_trap
        self.machine.traps.observe(None)

    def after_trap(self) -> bool:
        self.traps += 1
        self.in_run += 1
        assert self.machine.cpu.cpl in {1, 2, 3}
        return self.in_run < TRAPS_PER_RUN

    def run(self) -> None:
        """One run from a fresh start."""
        machine, source = self.machine, self.source
        machine.crash, self.in_run = None, 0
        machine.traps.clear_traps()
        machine.install_all(masking=source.random() < 0.5)
        machine.traps.state.iopl = source.choice((0, 0, 1, 3))
        machine.architectural_iopl = source.random() < 0.2
        for _ in range(4):
            machine.ram.write(HANDLERS + 16 * source.randrange(256), noise(source))
        ring = source.choice((1, 3))
        machine.enter_ring(ring, 0x202 | source.choice((0, 0, 0x100, 0x400, 0x4000, 0x40000)))
        cpu = machine.cpu
        cpu.eax, cpu.ecx, cpu.edx = (source.choice((0, 0x42, source.getrandbits(32))) for _ in range(3))
        first = b"\xcd\x80" if source.random() < 0.2 else b""
        machine.ram.write(KERNEL if ring == 1 else USER, first + noise(source))
        cpu.run(instructions=INSTRUCTIONS_PER_RUN)
        self.crashes += machine.crash is not None

    def checksum(self) -> tuple[int, int]:
        ram = self.machine.ram.bytes
        foreign = ram[FOREIGN_FRAMES.start << 12 : FOREIGN_FRAMES.stop << 12]
        return zlib.crc32(foreign), zlib.crc32(ram[GDT : GDT + 0xF000])


def test_random_code_traps_and_nothing_else_happens() -> None:
    fuzz = Fuzz(20_260)
    before = fuzz.checksum()
    runs = 0
    while fuzz.traps < TRAPS_WANTED:
        fuzz.run()
        runs += 1
        if runs % 200 == 0:
            assert fuzz.checksum() == before
    assert fuzz.checksum() == before
    assert fuzz.machine.cpu.cpl in {1, 2, 3}
    assert 0 < fuzz.crashes < runs, "some runs end the domain and some do not, or the fuzz does nothing"
    counters = fuzz.machine.traps.counters
    assert min(counters.bounced, counters.emulated, counters.direct) > 100
    fuzz.machine.close()
