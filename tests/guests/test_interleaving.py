"""Several vcpus on schedules of chance: a kernel that is right comes out right on every one of them, and what
a seed brings about it brings about again. A failure names the seed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paravane import Image, load_image, quick
from paravane.compiler import build
from paravane.trace import Kind
from tests.support.boot import HOST_TIMEOUT, finished

if TYPE_CHECKING:
    from paravane import BootResult

SOURCE = Path(__file__).with_name("interleave.S")
ROUNDS = 60
RIGHT = ["0x00000000"] * 6
EVERYTHING = tuple(Kind)


@cache
def image(seed: int, *, race: bool = False) -> Image:
    defines = {"SEED": seed, "ROUNDS": 2000 if race else ROUNDS, **({"RACE": 1} if race else {})}
    return load_image(build([SOURCE], defines=defines))


def run(seed: int, *, race: bool = False, trace: tuple[Kind, ...] = ()) -> BootResult:
    return finished(
        quick.boot(
            image(seed % 4, race=race),
            memory=4 << 20,
            vcpus=4,
            seed=seed,
            slice_instructions=10_000,
            trace=trace,
            timeout=HOST_TIMEOUT,
        )
    )


@pytest.mark.parametrize("seed", range(1, 13))
def test_what_is_right_on_one_schedule_is_right_on_all(seed: int) -> None:
    assert run(seed).console.split() == RIGHT, f"seed {seed}"


@pytest.mark.parametrize("seed", [3, 5])
def test_a_seed_brings_the_same_schedule_about_again(seed: int) -> None:
    first, second = (run(seed, trace=EVERYTHING) for _ in range(2))
    assert first.records
    assert first.trace_lines() == second.trace_lines()


@pytest.mark.parametrize("kernel", ["smp", "spin", "poll"])
def test_two_runs_of_a_kernel_are_one(kernel: str) -> None:
    first, second = (
        quick.boot(kernel, deterministic=True, seed=2, default_timeout=HOST_TIMEOUT) for _ in range(2)
    )
    assert finished(first).trace_lines() == finished(second).trace_lines()


def test_a_race_is_found_and_found_again() -> None:
    """The second of two unlocked additions is lost on some schedules, the same ones each time."""
    results = ((seed, run(seed, race=True).console) for seed in range(1, 9))
    seed, console = next((seed, console) for seed, console in results if console.split()[1] != "0x00000000")
    assert run(seed, race=True).console == console, f"seed {seed}"
