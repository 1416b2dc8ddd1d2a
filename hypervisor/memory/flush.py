"""TLB flushes that a batch owes: collected while it runs, done once at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from paravane.memory.domain_memory import DomainMemory


class Processor(Protocol):
    """What this room asks of a vcpu's processor (`paravane.cpu.Cpu` has it all)."""

    cr2: int
    cr3: int
    eip: int
    eflags: int

    @property
    def cpl(self) -> int: ...

    def flush_tlb(self) -> None: ...
    def flush_page(self, va: int) -> None: ...
    def set_gdt(self, base: int, limit: int) -> None: ...
    def set_ldt(self, base: int, limit: int) -> None: ...


class OwedFlushes:
    """Domains whose processors may still hold translations that no page table has any more.

    No guest instruction runs between the change and `settle`: a stale writable translation of a frame that
    became a page table, or of one that was given back, must not live to be used.
    """

    def __init__(self) -> None:
        self._domains: list[DomainMemory] = []

    def owe(self, domain: DomainMemory) -> None:
        """`domain` needs all its processors flushed before it runs again."""
        if not domain.flush_owed:
            domain.flush_owed = True
            self._domains.append(domain)

    def settle(self) -> None:
        """Do what is owed. Every operation of this room ends with it."""
        while self._domains:
            domain = self._domains.pop()
            domain.flush_owed = False
            for cpu in domain.processors:
                cpu.flush_tlb()
