"""The state of one processor as plain data, to keep and put back: in this process or another, whether or not
the engine's state is seen in place.

Not part of it: the page-table root, GDT and LDT, which whoever installed them puts back, what was translated,
and the TLB, which is empty afterwards. Which instructions have hooks is: a block whose suspect instructions
get their hooks has to be translated twice, and that is charged to a run with a budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paravane.classes import NamedTuple, dataclass
from paravane.cpu.engine import numbers
from paravane.cpu.engine.context_offsets import SEGMENTS
from paravane.x86 import Cr0, Eflags

if TYPE_CHECKING:
    from paravane.cpu.processor import Cpu

_DEBUG_REGISTERS: Final = (0, 1, 2, 3, 6, 7)
_WORD: Final = 0xFFFFFFFF
_LEAST_PRIVILEGED: Final = 3


class SegmentSaved(NamedTuple):
    """A segment register with what it has cached of its descriptor, the flags as the processor keeps them."""

    selector: int
    base: int
    limit: int
    flags: int


@dataclass(frozen=True, slots=True)
class HookPlaces:
    """Linear addresses of instructions with a hook: of breakpoints and suspects (`looked_at` are the latter),
    of PAUSEs, which are among these, with how often one was reached, and of those before which the state is
    copied. `everywhere`: so many that all have it."""

    hooked: tuple[int, ...] = ()
    looked_at: tuple[int, ...] = ()
    pauses: tuple[int, ...] = ()
    pauses_reached: int = 0
    copied_before: tuple[int, ...] = ()
    hooked_everywhere: bool = False
    copied_everywhere: bool = False


@dataclass(frozen=True, slots=True)
class ProcessorSaved:
    """`gprs` in the order of `Cpu.gprs`, `segments` in that of `SEGMENTS`, `debug` DR0 to DR3, DR6, DR7;
    `fpu` is an FXSAVE image. `eflags` has RF; with `inhibited` the next instruction is a block of its own, as
    after one that set RF or loaded SS. `segments_due`: CS and SS are to be loaded anew on the return to the
    guest."""

    gprs: tuple[int, ...]
    eip: int
    eflags: int
    inhibited: bool
    cpl: int
    cr2: int
    task_switched: bool
    segments: tuple[SegmentSaved, ...]
    debug: tuple[int, ...]
    fpu: bytes
    segments_due: bool
    places: HookPlaces


def save(cpu: Cpu) -> ProcessorSaved:
    """The state of a processor that does not execute. Whatever it has translated is forgotten, so that it
    goes on just as one that the state is put into."""
    forget_translations(cpu)
    fpu = cpu.fpu_save()  # with all that was collected put back into the engine
    words, layout = cpu._words, cpu._layout
    slots = [layout.segments[name] for name in SEGMENTS]
    return ProcessorSaved(
        gprs=cpu.gprs(),
        eip=cpu.eip,
        eflags=cpu._engine.read_register(numbers.UC_X86_REG_EFLAGS) & _WORD,
        inhibited=cpu.shadowed,
        cpl=cpu.cpl,
        cr2=cpu.cr2,
        task_switched=cpu.cr0 & Cr0.TS != 0,
        segments=tuple(
            SegmentSaved(words[slot.selector], words[slot.base], words[slot.limit], words[slot.flags])
            for slot in slots
        ),
        debug=tuple(cpu.get_dr(index) for index in _DEBUG_REGISTERS),
        fpu=fpu,
        segments_due=cpu.segments_due,
        places=_places(cpu),
    )


def restore(cpu: Cpu, saved: ProcessorSaved) -> None:
    """Become what was saved; the processor has not run yet. Raises ValueError, a sentence, for a state that
    no guest's processor can be in."""
    if not 1 <= saved.cpl <= _LEAST_PRIVILEGED or saved.eflags & Eflags.VM:
        raise ValueError(f"a guest's processor is not in ring {saved.cpl} with EFLAGS {saved.eflags:#x}")
    _restore_places(cpu, saved.places)
    cpu.fpu_load(saved.fpu)
    for index, value in zip(_DEBUG_REGISTERS, saved.debug, strict=True):
        cpu.set_dr(index, value)
    for name, segment in zip(SEGMENTS, saved.segments, strict=True):
        cpu._cache_segment(name, *segment)
    cpu._set_cpl(saved.cpl)
    cpu.set_task_switched(saved.task_switched)
    for index, value in enumerate(saved.gprs):
        cpu._gprs[2 * index] = value
    cpu.cr2, cpu.eip, cpu.eflags = saved.cr2, saved.eip, saved.eflags
    hflags, inhibit = cpu._words[cpu._layout.hflags], cpu._layout.inhibit
    cpu._words[cpu._layout.hflags] = hflags | inhibit if saved.inhibited else hflags & ~inhibit & _WORD
    cpu.segments_due = saved.segments_due
    forget_translations(cpu)


def forget_translations(cpu: Cpu) -> None:
    """Have the processor translate all code anew and walk its tables for every page, from its next
    instruction on."""
    cpu._drop_all = True
    cpu.flush_tlb()


def _places(cpu: Cpu) -> HookPlaces:
    hooks = cpu._hooks
    hooked, looked_at = hooks.debug.places()
    pauses, reached = hooks._spins.save()
    return HookPlaces(
        hooked=tuple(sorted(hooked)),
        looked_at=tuple(sorted(looked_at)),
        pauses=tuple(sorted(pauses)),
        pauses_reached=reached,
        copied_before=tuple(sorted(hooks._before.places())),
        hooked_everywhere=hooks.debug.breaks_everywhere,
        copied_everywhere=hooks._before.everywhere,
    )


def _restore_places(cpu: Cpu, places: HookPlaces) -> None:
    hooks = cpu._hooks
    hooks._spins.restore(set(places.pauses), places.pauses_reached)
    hooks._before.restore(set(places.copied_before), everywhere=places.copied_everywhere)
    hooks.debug.restore(set(places.hooked), set(places.looked_at), everywhere=places.hooked_everywhere)
    if places.hooked_everywhere or places.copied_everywhere:
        hooks._note_hooks(None)
    elif places.hooked or places.copied_before:
        hooks._note_hooks({*places.hooked, *places.copied_before})
