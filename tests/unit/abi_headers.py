"""C's view of the ABI: expressions evaluated by gcc -m32 against the Xen public headers of the system."""

from __future__ import annotations

import struct
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tests.support.needs import LINUX_HEADERS, XEN_HEADERS, require, tool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from elftools.dwarf.die import DIE


STDINT = """
#pragma once
typedef signed char int8_t; typedef unsigned char uint8_t;
typedef short int16_t; typedef unsigned short uint16_t;
typedef int int32_t; typedef unsigned int uint32_t;
typedef long long int64_t; typedef unsigned long long uint64_t;
"""

STDDEF = """
#pragma once
#define offsetof(type, member) __builtin_offsetof(type, member)
#define NULL ((void *)0)
typedef unsigned int size_t;
"""

# XEN_ERRNO before errno.h selects its bare list, __XEN__ the two internal errors in it. __XEN_TOOLS__ shows
# the commands that ordinary guests may not use but may try.
PRELUDE = """
#include <stdint.h>
#include <stddef.h>
#define __XEN__
#define XEN_ERRNO(name, value) XEN_##name = value,
enum xen_errno {
#include <xen/errno.h>
};
#undef __XEN__
#define __XEN_TOOLS__
#define uint64_aligned_t uint64_t __attribute__((aligned(8)))
#include <xen/xen.h>
#include <xen/arch-x86/xen-mca.h>
#include <xen/callback.h>
#include <xen/domctl.h>
#include <xen/elfnote.h>
#include <xen/event_channel.h>
#include <xen/features.h>
#include <xen/grant_table.h>
#include <xen/memory.h>
#include <xen/nmi.h>
#include <xen/physdev.h>
#include <xen/pmu.h>
#include <xen/sched.h>
#include <xen/trace.h>
#include <xen/vcpu.h>
#include <xen/version.h>
#include <xen/sysctl.h>
#include <xen/platform.h>
#include <xen/hvm/dm_op.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/io/blkif.h>
#include <xen/io/console.h>
#include <xen/io/fbif.h>
#include <xen/io/kbdif.h>
#include <xen/io/netif.h>
#include <xen/io/protocols.h>
#include <xen/io/ring.h>
#include <xen/io/xenbus.h>
#include <xen/io/xs_wire.h>
#include <asm/processor-flags.h>

/* Documented in prose only: HYPERVISOR_iret's frame, the BIOS memory map, vectors, page-table bits. */
struct iret_frame { uint32_t eax, eip, cs, eflags, esp, ss; };
struct e820entry { uint64_t addr, size; uint32_t type; } __attribute__((packed));
enum { E820_RAM = 1, E820_RESERVED, E820_ACPI, E820_NVS, E820_UNUSABLE };
enum {
    X86_EXC_DE, X86_EXC_DB, X86_EXC_NMI, X86_EXC_BP, X86_EXC_OF, X86_EXC_BR, X86_EXC_UD, X86_EXC_NM,
    X86_EXC_DF, X86_EXC_CSO, X86_EXC_TS, X86_EXC_NP, X86_EXC_SS, X86_EXC_GP, X86_EXC_PF, X86_EXC_SPV,
    X86_EXC_MF, X86_EXC_AC, X86_EXC_MC, X86_EXC_XM
};
enum {
    PFEC_page_present = 1, PFEC_write_access = 2, PFEC_user_mode = 4, PFEC_reserved_bit = 8,
    PFEC_insn_fetch = 16
};
enum {
    _PAGE_PRESENT = 0x1, _PAGE_RW = 0x2, _PAGE_USER = 0x4, _PAGE_PWT = 0x8, _PAGE_PCD = 0x10,
    _PAGE_ACCESSED = 0x20, _PAGE_DIRTY = 0x40, _PAGE_PSE = 0x80, _PAGE_PAT = 0x80, _PAGE_GLOBAL = 0x100,
    _PAGE_AVAIL0 = 0x200, _PAGE_AVAIL1 = 0x400, _PAGE_AVAIL2 = 0x800, _PAGE_AVAIL = 0xe00
};
#define _PAGE_NX_BIT 0x8000000000000000ULL
"""

# -1, 0 or 1: not an integer, unsigned, signed.
SIGN = """
#define SIGN_OF(x) _Generic((x), signed char: 1, short: 1, int: 1, long: 1, long long: 1, \\
    unsigned char: 0, unsigned short: 0, unsigned int: 0, unsigned long: 0, unsigned long long: 0, \\
    default: -1)
"""


def header_folder() -> Path:
    """The folder of the Xen public headers."""
    return require(XEN_HEADERS).parent


class CType:
    """A type in the debug information of an object: what a variable, a member or an array's element is."""

    def __init__(self, die: DIE) -> None:
        while "DW_AT_type" in die.attributes:
            die = die.get_DIE_from_attribute("DW_AT_type")
        self._die = die

    def members(self) -> dict[str, CType]:
        """Members of a struct or union; of an anonymous union only the first, the others are other views."""
        found = {}
        for child in self._die.iter_children():
            if child.tag == "DW_TAG_member" and "DW_AT_name" in child.attributes:
                found[child.attributes["DW_AT_name"].value.decode()] = CType(child)
            elif child.tag == "DW_TAG_member":
                found |= dict([next(iter(CType(child).members().items()))])
        return found


class CHeaders:
    """Compiles C against the headers, in a directory of its own, without any libc."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "stdint.h").write_text(STDINT)
        (directory / "stddef.h").write_text(STDDEF)
        linux = require(LINUX_HEADERS)
        # Debian has those of one processor in a folder of their own, which asks for the others.
        places = [directory, header_folder().parent, linux.parents[1], linux.parents[2]]
        includes = [f"-I{place}" for place in places]
        self.command = [tool("gcc"), "-m32", "-ffreestanding", "-nostdinc", "-fno-pie", "-w", *includes]

    def evaluate(self, expressions: Sequence[str]) -> list[int]:
        """Values of constant integer expressions, as 64-bit signed numbers."""
        lines = "\n".join(f"    (long long)({expression})," for expression in expressions)
        data = self._symbol(f"const long long values[] = {{\n{lines}\n}};\n", "values")
        return list(struct.unpack(f"<{len(expressions)}q", data))

    def text(self, expression: str) -> str:
        """Value of a string literal."""
        data = self._symbol(f"const char values[] = {expression};\n", "values")
        return data.rstrip(b"\0").decode("ascii")

    @contextmanager
    def types(self, names: Sequence[str]) -> Iterator[dict[str, CType]]:
        """C type name -> its debug information."""
        variables = "".join(f"__typeof__({name}) variable{at};\n" for at, name in enumerate(names))
        target = self.directory / "types.o"
        self._gcc("-g", "-c", self._source(variables), "-o", str(target))
        with target.open("rb") as stream:
            dies = [die for unit in ELFFile(stream).get_dwarf_info().iter_CUs() for die in unit.iter_DIEs()]
            found = {
                die.attributes["DW_AT_name"].value.decode(): CType(die)
                for die in dies
                if die.tag == "DW_TAG_variable"
            }
            yield {name: found[f"variable{at}"] for at, name in enumerate(names)}

    def macros(self) -> dict[str, str]:
        """All macros the headers define: name -> body."""
        dumped = self._gcc("-dM", "-E", self._source(""))
        pairs = (line.split(" ", 2) for line in dumped.splitlines())
        return {parts[1]: parts[2] if len(parts) > 2 else "" for parts in pairs}

    def _symbol(self, declaration: str, name: str) -> bytes:
        target = self.directory / "probe.o"
        self._gcc("-c", self._source(declaration), "-o", str(target))
        with target.open("rb") as stream:
            elf = ELFFile(stream)
            table = elf.get_section_by_name(".symtab")
            assert isinstance(table, SymbolTableSection)
            symbol = (table.get_symbol_by_name(name) or [])[0]
            data: bytes = elf.get_section(symbol["st_shndx"]).data()
            start = symbol["st_value"]
            return data[start : start + symbol["st_size"]]

    def _source(self, declaration: str) -> str:
        path = self.directory / "probe.c"
        path.write_text(PRELUDE + SIGN + declaration)
        return str(path)

    def _gcc(self, *arguments: str) -> str:
        done = subprocess.run([*self.command, *arguments], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout
