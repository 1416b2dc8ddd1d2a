"""Saving and loading the floating-point state."""

import struct

import pytest

from tests.support.cpu_bench import DATA, Bench

IMAGE_AT = DATA + 0x200  # FXSAVE wants 16-byte alignment


def at(va: int) -> bytes:
    return struct.pack("<I", va)


def make_state(bench: Bench) -> None:
    """fninit; fldpi; fld1; movups DATA,%xmm3; fxsave IMAGE_AT; int $0x20"""
    bench.ram.write(DATA, bytes(range(16)))
    code = b"\xdb\xe3\xd9\xeb\xd9\xe8\x0f\x10\x1d" + at(DATA) + b"\x0f\xae\x05" + at(IMAGE_AT) + b"\xcd\x20"
    assert bench.run(code)[0].vector == 0x20


def test_saved_image_is_what_the_guest_itself_would_save(bench: Bench) -> None:
    make_state(bench)
    image, native = bench.cpu.fpu_save(), bench.cpu.read(IMAGE_AT, 512)
    assert image[:6] == native[:6]
    assert image[24:28] == native[24:28]
    assert [image[o : o + 10] for o in range(32, 160, 16)] == [native[o : o + 10] for o in range(32, 160, 16)]
    assert image[160:288] == native[160:288]
    assert image[208:224] == bytes(range(16))


def test_loaded_image_is_what_the_guest_computes_with(bench: Bench) -> None:
    make_state(bench)
    image = bench.cpu.fpu_save()
    # fninit; xorps %xmm3,%xmm3; int $0x20
    bench.kernel()
    bench.run(b"\xdb\xe3\x0f\x57\xdb\xcd\x20")
    assert bench.cpu.fpu_save() != image
    bench.kernel()
    bench.cpu.ebx = 42
    bench.cpu.fpu_load(image)
    assert bench.cpu.fpu_save() == image
    # faddp; fstpl DATA; int $0x20
    bench.run(b"\xde\xc1\xdd\x1d" + at(DATA) + b"\xcd\x20")
    assert struct.unpack("<d", bench.cpu.read(DATA, 8))[0] == pytest.approx(4.141592653589793)
    assert bench.cpu.ebx == 42


def test_state_loaded_in_a_handler_is_the_guests(bench: Bench) -> None:
    make_state(bench)
    image = bench.cpu.fpu_save()
    bench.handler.on_trap = lambda trap: (
        bench.cpu.fpu_load(image) if trap.vector == 0x82 else bench.cpu.stop()
    )
    bench.kernel()
    bench.run(b"\xdb\xe3\xcd\x82\xdd\x1d" + at(DATA) + b"\xcd\x20")
    assert struct.unpack("<d", bench.cpu.read(DATA, 8))[0] == 1.0


def test_bad_images_are_refused_and_change_nothing(bench: Bench) -> None:
    make_state(bench)
    image = bench.cpu.fpu_save()
    with pytest.raises(ValueError, match="512 bytes"):
        bench.cpu.fpu_load(image[:-1])
    with pytest.raises(ValueError, match="MXCSR"):
        bench.cpu.fpu_load(image[:24] + b"\xff\xff\xff\xff" + image[28:])
    assert bench.cpu.fpu_save() == image
