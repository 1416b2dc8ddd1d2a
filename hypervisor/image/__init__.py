"""Kernel images: ELF files with Xen's notes, read and checked. `load_image` is the way in."""

from paravane.image.errors import ImageError
from paravane.image.image import Image, Segment
from paravane.image.loader import load_image
from paravane.image.notes import PaeMode

__all__ = ["Image", "ImageError", "PaeMode", "Segment", "load_image"]
