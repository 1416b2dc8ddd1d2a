"""Kernel images: ELF files with Xen's notes, read and checked. `load_image` is the way in."""

from hypervisor.image.errors import ImageError
from hypervisor.image.image import Image, Segment
from hypervisor.image.loader import load_image
from hypervisor.image.notes import PaeMode

__all__ = ["Image", "ImageError", "PaeMode", "Segment", "load_image"]
