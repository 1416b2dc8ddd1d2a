"""The numbers of the engine's C interface, as its headers have them (unicorn.h and x86.h of Unicorn 2.1).

The engine's package for Python declares them too. But with it come all other processors, a long search for
the library, and a binding that nobody here calls, which take a short boot longer than its guest does.
`tests/substrate/test_engine_numbers.py` holds each number against that package.
"""

from typing import Final

# What is emulated: architecture and mode.
UC_ARCH_X86: Final = 4
UC_MODE_32: Final = 4

# Answers of each call, but for those that answer with a number.
UC_ERR_OK: Final = 0
UC_ERR_NOMEM: Final = 1

# Kinds of hook, each a bit.
UC_HOOK_INTR: Final = 1
UC_HOOK_INSN: Final = 2
UC_HOOK_CODE: Final = 4
UC_HOOK_BLOCK: Final = 8
UC_HOOK_MEM_WRITE_PROT: Final = 256
UC_HOOK_MEM_READ: Final = 1024
UC_HOOK_MEM_WRITE: Final = 2048
UC_HOOK_INSN_INVALID: Final = 16384
UC_HOOK_EDGE_GENERATED: Final = 32768

# What an access hook is told.
UC_MEM_WRITE: Final = 17

# Rights to machine memory.
UC_PROT_READ: Final = 1
UC_PROT_EXEC: Final = 4
UC_PROT_ALL: Final = 7

# What `uc_ctl` is asked to do; UC_CTL_IO_WRITE is the direction.
UC_CTL_IO_WRITE: Final = 1
UC_CTL_UC_USE_EXITS: Final = 4
UC_CTL_TB_REMOVE_CACHE: Final = 9
UC_CTL_TB_FLUSH: Final = 10
UC_CTL_TLB_FLUSH: Final = 11
UC_CTL_TLB_TYPE: Final = 12
UC_CTL_TCG_BUFFER_SIZE: Final = 13

# Where translations come from.
UC_TLB_CPU: Final = 0
UC_TLB_VIRTUAL: Final = 1

# Instructions with a hook of their own.
UC_X86_INS_CPUID: Final = 113
UC_X86_INS_IN: Final = 218
UC_X86_INS_OUT: Final = 500
UC_X86_INS_SYSCALL: Final = 699
UC_X86_INS_SYSENTER: Final = 700

# Registers.
UC_X86_REG_CS: Final = 11
UC_X86_REG_DS: Final = 17
UC_X86_REG_EAX: Final = 19
UC_X86_REG_EBP: Final = 20
UC_X86_REG_EBX: Final = 21
UC_X86_REG_ECX: Final = 22
UC_X86_REG_EDI: Final = 23
UC_X86_REG_EDX: Final = 24
UC_X86_REG_EFLAGS: Final = 25
UC_X86_REG_EIP: Final = 26
UC_X86_REG_ES: Final = 28
UC_X86_REG_ESI: Final = 29
UC_X86_REG_ESP: Final = 30
UC_X86_REG_FPSW: Final = 31
UC_X86_REG_FS: Final = 32
UC_X86_REG_GS: Final = 33
UC_X86_REG_SS: Final = 49
UC_X86_REG_CR0: Final = 50
UC_X86_REG_CR2: Final = 52
UC_X86_REG_CR3: Final = 53
UC_X86_REG_CR4: Final = 54
UC_X86_REG_DR0: Final = 66
UC_X86_REG_DR7: Final = 73
UC_X86_REG_ST0: Final = 114
UC_X86_REG_XMM0: Final = 122
UC_X86_REG_GDTR: Final = 243
UC_X86_REG_LDTR: Final = 244
UC_X86_REG_TR: Final = 245
UC_X86_REG_FPCW: Final = 246
UC_X86_REG_FPTAG: Final = 247
UC_X86_REG_MSR: Final = 248
UC_X86_REG_MXCSR: Final = 249
UC_X86_REG_FIP: Final = 254
UC_X86_REG_FCS: Final = 255
UC_X86_REG_FDP: Final = 256
UC_X86_REG_FDS: Final = 257
UC_X86_REG_FOP: Final = 258
