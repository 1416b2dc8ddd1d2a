"""The one room that knows Keystone: one instruction of canonical text in, checked bytes out.

Only text rendered from parsed operands comes here. Keystone answers some operands it does not understand with
no bytes and others with another instruction's, so every answer is decoded again with Capstone.
"""

from __future__ import annotations

from functools import cache, lru_cache

import capstone
import keystone

from paravane.asm.mnemonics import is_same

_WAIT = 0x9B


@cache
def _assembler() -> keystone.Ks:
    engine = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_32)
    engine.syntax = keystone.KS_OPT_SYNTAX_ATT
    return engine


@cache
def _disassembler() -> capstone.Cs:
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32)
    engine.syntax = capstone.CS_OPT_SYNTAX_ATT
    return engine


@lru_cache(maxsize=1 << 16)
def encode(text: str) -> bytes | None:
    """The bytes of one instruction, or None when Keystone cannot say it or says what does not decode."""
    try:
        encoded, _ = _assembler().asm(text, 0)
    except keystone.KsError:
        return None
    data = bytes(encoded or b"")
    return data if data and _says(data, text.split(maxsplit=1)[0]) else None


def _says(data: bytes, mnemonic: str) -> bool:
    """Whether the bytes are the one instruction asked for; a WAIT before an FPU instruction belongs to it."""
    body = data[1:] if data[0] == _WAIT and len(data) > 1 else data
    decoded = list(_disassembler().disasm_lite(body, 0))
    if len(decoded) != 1:
        return False
    _, size, name, _ = decoded[0]
    return size == len(body) and is_same(mnemonic, name.split()[-1])
