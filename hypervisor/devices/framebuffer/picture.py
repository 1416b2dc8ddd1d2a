"""The picture in a guest's frames: its shape, checked, and its pixels, as they are now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple
from paravane.devices.vnc.pixel_format import PIXEL
from paravane.x86 import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paravane.devices.vnc import Rect

MOST_MEMORY: Final = 32 << 20
"""Bytes of the largest framebuffer: 3840 by 2160 pixels of 32 bits nearly fill it. What lies beyond is not
mapped."""

MOST_PIXELS: Final = 0xFFFF
"""Of a side: what a viewer can be told."""

DEPTHS: Final = (8, 16, 24, 32)


class Shape(NamedTuple):
    """`width` and `height` in pixels, `stride` and `offset` in bytes, `depth` in bits of a pixel."""

    width: int
    height: int
    stride: int
    depth: int
    offset: int = 0

    def fitted(self, size: int) -> Shape:
        """As much of it as a framebuffer of `size` bytes has, as Xen's usual backend (QEMU's) has it. Raises
        ValueError, a sentence, for a shape that is none."""
        if self.depth not in DEPTHS:
            raise ValueError(f"a pixel of {self.depth} bits")
        if not 0 < self.stride <= size:
            raise ValueError(f"a line of {self.stride} bytes in a framebuffer of {size}")
        if not 0 <= self.offset < size:
            raise ValueError(f"an offset of {self.offset} into a framebuffer of {size}")
        width = min(_or_most(self.width), self.stride // (self.depth // 8))
        height = min(_or_most(self.height), (size - self.offset) // self.stride)
        if not width or not height:
            raise ValueError(f"a picture of {self.width} by {self.height} pixels of {self.depth} bits")
        return self._replace(width=width, height=height)


class Picture:
    """A picture of this shape in a framebuffer of `size` bytes, whose frames are `pages` (memoryviews of 4096
    bytes, 'B')."""

    def __init__(self, pages: Sequence[memoryview], size: int, shape: Shape) -> None:
        """Raises ValueError as `Shape.fitted` does."""
        self.shape = shape.fitted(size)
        self._pages = pages
        self._size = size

    def reshaped(self, shape: Shape) -> Picture:
        """Another picture in the same framebuffer. Raises ValueError as `Shape.fitted` does."""
        return Picture(self._pages, self._size, shape)

    def read(self, rect: Rect) -> bytes:
        """A part of it, which lies in it, as viewers are shown it (`Screen.read`)."""
        shape, pixel = self.shape, self.shape.depth // 8
        first = shape.offset + rect.y * shape.stride + rect.x * pixel
        length = rect.width * pixel
        last = first + (rect.height - 1) * shape.stride + length
        pages = self._pages[first >> PAGE_SHIFT : (last - 1 >> PAGE_SHIFT) + 1]
        # Once for all: it is the guest's to change between two looks, but not to make lines of other lengths.
        data = b"".join(pages)
        first &= PAGE_SIZE - 1
        if length == shape.stride:
            lines = data[first : first + length * rect.height]
        else:
            starts = range(first, first + rect.height * shape.stride, shape.stride)
            lines = b"".join([data[start : start + length] for start in starts])
        return _CONVERSIONS[shape.depth](lines)


def _or_most(length: int) -> int:
    """A negative length means as much as there is."""
    return length if 0 <= length <= MOST_PIXELS else MOST_PIXELS


def _spread(blue: bytes, green: bytes, red: bytes) -> bytes:
    made = bytearray(len(blue) * PIXEL)
    made[0::PIXEL], made[1::PIXEL], made[2::PIXEL] = blue, green, red
    return bytes(made)


def _scaled(bits: int, value: int) -> int:
    """A colour of so many bits as one of eight."""
    most = (1 << bits) - 1
    return (value & most) * 255 // most


def _table(bits: int, shift: int) -> bytes:
    return bytes(_scaled(bits, value >> shift) for value in range(256))


_BLUE_332, _GREEN_332, _RED_332 = _table(2, 0), _table(3, 2), _table(3, 5)
_BLUE_565, _RED_565 = _table(5, 0), _table(5, 3)
# Green is in both bytes. As 255 is 4 * 63 + 3, six bits are scaled by shifts, so that what each byte has of
# it can be made apart: its upper two bits are repeated below it.
_GREEN_LOW = bytes((value >> 5) << 2 for value in range(256))
_GREEN_HIGH = bytes((value & 7) << 5 | (value & 7) >> 1 for value in range(256))


def _from_8(lines: bytes) -> bytes:
    """Three bits of red, three of green, two of blue, from the top on."""
    return _spread(lines.translate(_BLUE_332), lines.translate(_GREEN_332), lines.translate(_RED_332))


def _from_16(lines: bytes) -> bytes:
    """Five bits of red, six of green, five of blue."""
    low, high = lines[0::2], lines[1::2]
    parts = (low.translate(_GREEN_LOW), high.translate(_GREEN_HIGH))
    green = int.from_bytes(parts[0], "little") | int.from_bytes(parts[1], "little")
    return _spread(low.translate(_BLUE_565), green.to_bytes(len(low), "little"), high.translate(_RED_565))


def _from_24(lines: bytes) -> bytes:
    return _spread(lines[0::3], lines[1::3], lines[2::3])


_CONVERSIONS: Final[dict[int, Callable[[bytes], bytes]]] = {
    8: _from_8,
    16: _from_16,
    24: _from_24,
    32: bytes,
}
"""By depth. Colours are where QEMU's backend finds them, blue in the lowest bits."""
