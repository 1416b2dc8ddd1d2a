"""VNC's password (RFC 6143, 7.2.2): a challenge that both sides encrypt by DES.

Its eight characters keep away who meets the port by chance, and nobody who listens to the line.
"""

from __future__ import annotations

import hmac
import os
from importlib import import_module
from typing import Any, Final

CHALLENGE_SIZE: Final = 16
LONGEST: Final = 8
"""Characters of a password that count."""


class PasswordError(ValueError):
    """There can be no passwords here; the message is one sentence."""


def check_available() -> None:
    """Raises PasswordError where DES is missing: it is old enough for hardly anything to have it."""
    try:
        import_module("cryptography")
    except ImportError:
        raise PasswordError(
            "a VNC password needs the package cryptography: pip install 'paravane[vnc]'"
        ) from None


def challenge() -> bytes:
    return os.urandom(CHALLENGE_SIZE)


def answers(password: str, asked: bytes, answer: bytes) -> bool:
    """Whether somebody who knows the password has given this answer to a challenge."""
    return hmac.compare_digest(encrypted(password, asked), answer)


def encrypted(password: str, asked: bytes) -> bytes:
    """The right answer. The bits of each character are taken from the other end, as all viewers do it."""
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode()[:LONGEST].ljust(LONGEST, b"\0"))
    ciphers: Any = import_module("cryptography.hazmat.primitives.ciphers")
    algorithms: Any = import_module("cryptography.hazmat.decrepit.ciphers.algorithms")
    # Three times the same key is DES once, which the package does not offer by itself.
    cipher = ciphers.Cipher(algorithms.TripleDES(key * 3), ciphers.modes.ECB()).encryptor()
    return bytes(cipher.update(asked) + cipher.finalize())
