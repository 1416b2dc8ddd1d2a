"""`--record`: the failure that was found, as a recording for `paravane replay`."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from typing import TYPE_CHECKING

from paravane import StopReason
from paravane.sched import POLICIES
from paravane.tools.boot.recording import check_recordable, kept
from paravane.tools.explore.trial import image_of, machine_of, quiet
from paravane.tools.status import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from paravane.tools.explore.trial import Plan, Trial


def check(plan: Plan, folder: Path) -> None:
    """Before there is anything to record. Raises UsageError."""
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"--record {folder}: it is there already")
    check_recordable(plan.config)


def record(plan: Plan, trial: Trial, folder: Path) -> bool:
    """Run it once more and keep it; whether it was the same run. What is typed comes in its first turn here,
    which a kernel may notice. Raises UsageError and OutputError."""
    variation = trial.draw.variation
    wanted = Namespace(
        record=folder,
        seed=trial.draw.seed,
        sched=next(iter(POLICIES)),
        xen_build="debug",
        max_traps=0,
        jitter=variation.jitter,
        decisions=variation.decisions,
        faults=variation.faults,
        most_faults=variation.most_faults,
    )
    session = kept(wanted, plan.config, plan.image)
    with quiet(), machine_of(plan, trial.draw) as machine:
        session.join(machine)
        domain = machine.create(image_of(plan), replace(session.config, sink=session.put_out))
        session.begin(machine, domain.console).feed(plan.typed)
        ending = machine.run(timeout=plan.timeout, until=plan.until)
        if ending.reason is StopReason.TIME:
            # Whoever waits for no hanging kernel is outside of the machine.
            ending = replace(ending, reason=StopReason.TIMEOUT)
        session.ended(ending, str(ending))
        same = (machine.platform.clock.now(), machine.decisions) == (trial.ended_at, trial.decisions)
        return same or trial.by_host
