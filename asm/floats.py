"""Floating-point constants: decimal text to IEEE 754's and the x87's formats (Intel SDM vol. 1, 4.2.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paravane.asm.lexer import Scanner

# `0f1.5`: GNU as skips a zero and whatever letter comes after it.
_PREFIX = re.compile(r"0[A-Za-z]")
_DECIMAL = re.compile(r"([+-]?)(?=\.?[0-9])([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?")
_SPECIAL = re.compile(r"([+-]?)(inf(?:inity)?|[qs]?nan)(?![A-Za-z0-9_.$])", re.IGNORECASE)
_BITS = re.compile(r":([0-9a-fA-F_]+)")
_MAX_DIGITS = 10_000
_MAX_EXPONENT = 20_000  # powers of ten beyond every format, either way


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """A binary format: sign, exponent, and a fraction that may say its integer bit."""

    exponent_bits: int
    fraction_bits: int
    integer_bit: bool = False

    @property
    def size(self) -> int:
        """Bytes."""
        return (1 + self.exponent_bits + self.integer_bit + self.fraction_bits) // 8

    @property
    def bias(self) -> int:
        return (1 << self.exponent_bits - 1) - 1

    def pack(self, negative: bool, exponent: int, significand: int) -> bytes:
        """`significand` includes the integer bit, which only some formats store."""
        if not self.integer_bit:
            significand &= (1 << self.fraction_bits) - 1
        stored = self.fraction_bits + self.integer_bit
        sign = negative << stored + self.exponent_bits
        return (sign | exponent << stored | significand).to_bytes(self.size, "little")


HALF, BFLOAT16 = FloatFormat(5, 10), FloatFormat(8, 7)
SINGLE, DOUBLE, EXTENDED = FloatFormat(8, 23), FloatFormat(11, 52), FloatFormat(15, 63, integer_bit=True)


def read_float(scanner: Scanner, form: FloatFormat) -> bytes:
    """Consumes a constant and gives its bytes, rounded to nearest. Raises SourceError."""
    scanner.skip_space()
    start = scanner.pos
    prefix = _PREFIX.match(scanner.text, start)
    if prefix is not None:
        scanner.pos = prefix.end()
    for pattern, encode in ((_BITS, _bits), (_SPECIAL, _special), (_DECIMAL, _decimal)):
        found = pattern.match(scanner.text, scanner.pos)
        if found is not None:
            scanner.pos = found.end()
            data = encode(found, form)
            if data is None:
                raise scanner.error("the number does not fit into this format", start)
            return data
    raise scanner.error("expected a floating-point number", start, start + 1)


def _bits(found: re.Match[str], form: FloatFormat) -> bytes | None:
    """The very bits in hexadecimal, the most significant first."""
    digits = found[1].replace("_", "")
    if not digits or len(digits) > 2 * form.size:
        return None
    return bytes.fromhex(digits.ljust(2 * form.size, "0"))[::-1]


def _special(found: re.Match[str], form: FloatFormat) -> bytes:
    """Infinity; a NaN has every bit of its fraction set, but the first where it is a signalling one."""
    exponent, integer = (1 << form.exponent_bits) - 1, 1 << form.fraction_bits
    kind = found[2].lower()
    fraction = {"nan": integer - 1, "qnan": integer - 1, "snan": (integer >> 1) - 1}.get(kind, 0)
    return form.pack(found[1] == "-", exponent, integer | fraction)


def _decimal(found: re.Match[str], form: FloatFormat) -> bytes | None:
    fraction = (found[3] or "").rstrip("0")
    digits, power = found[2] + fraction, int(found[4] or 0) - len(fraction)
    if len(digits) > _MAX_DIGITS:
        return None
    negative, number = found[1] == "-", int(digits or "0")
    if number == 0 or power + len(digits) < -_MAX_EXPONENT:
        return form.pack(negative, 0, 0)
    if power + len(digits) > _MAX_EXPONENT:
        return None
    return _rounded(negative, number * Fraction(10) ** power, form, ties_up=power >= 0)


def _rounded(negative: bool, value: Fraction, form: FloatFormat, *, ties_up: bool) -> bytes | None:
    """The nearest number of the format; None when it is too large.

    Of two equally near ones it is the larger for whole numbers and the smaller for fractions: GNU as computes
    a fraction from a power of ten that it has rounded down.
    """
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    exponent -= value < Fraction(2) ** exponent
    exponent = max(exponent, 1 - form.bias)  # below the least normal number the steps stay as they are
    if exponent > form.bias:
        return None
    steps = value / Fraction(2) ** (exponent - form.fraction_bits)
    significand = floor(steps + Fraction(1, 2)) if ties_up else ceil(steps - Fraction(1, 2))
    if significand >> form.fraction_bits + 1:
        significand >>= 1
        exponent += 1  # past the largest number this is infinity
    is_normal = bool(significand >> form.fraction_bits)
    return form.pack(negative, exponent + form.bias if is_normal else 0, significand)
