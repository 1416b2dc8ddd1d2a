"""Scheduling policies on a processor without guests: shares, turns, caps, warps, wake-ups."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import pytest

from paravane.sched import FOREVER, POLICIES, BorrowedVirtualTime, Credit, Entity, RoundRobin, Share
from paravane.sched.bvt import CONTEXT_SWITCH_ALLOWANCE
from paravane.sched.credit import PERIOD
from paravane.sched.policy import LONGEST_TURN
from tests.support.scheduling import MILLISECOND, Processor, Taker

if TYPE_CHECKING:
    from paravane.sched import Policy

SECOND = 1000 * MILLISECOND
EVERY = pytest.mark.parametrize("name", POLICIES)
WEIGHTED = pytest.mark.parametrize("name", ["bvt", "credit"])


def shares(policy: Policy, *takers: Taker, seconds: int = 10) -> list[float]:
    """What part of the processor each had."""
    processor = Processor(policy, *takers)
    processor.run(seconds * SECOND)
    return [taker.entity.used / processor.now for taker in takers]


@EVERY
def test_those_who_always_compute_share_equally(name: str) -> None:
    assert shares(POLICIES[name](), *(Taker() for _ in range(4))) == pytest.approx([0.25] * 4, rel=0.01)


@WEIGHTED
def test_shares_are_as_the_weights(name: str) -> None:
    takers = [Taker(Share(weight)) for weight in (128, 256, 512, 1024)]
    expected = [weight / 1920 for weight in (128, 256, 512, 1024)]
    assert shares(POLICIES[name](), *takers) == pytest.approx(expected, rel=0.03)


def test_round_robin_knows_no_weights() -> None:
    assert shares(RoundRobin(), Taker(Share(1)), Taker(Share(65535))) == pytest.approx([0.5, 0.5], rel=0.01)


@WEIGHTED
def test_the_extremes_of_weights_starve_nobody(name: str) -> None:
    light, heavy = Taker(Share(1)), Taker(Share(65535))
    shares(POLICIES[name](), light, heavy, seconds=200)
    assert light.entity.used > 0
    assert heavy.entity.used > 0.98 * 200 * SECOND


@WEIGHTED
def test_the_entities_of_a_share_have_one_weight_together(name: str) -> None:
    """However many processors a domain has, it has its share of the one that there is."""
    many = Share()
    used = shares(POLICIES[name](), Taker(), *(Taker(many) for _ in range(4)))
    assert used[0] == pytest.approx(0.5, rel=0.02)
    assert used[1:] == pytest.approx([0.125] * 4, rel=0.05)


@WEIGHTED
def test_who_sleeps_leaves_its_share_to_the_others(name: str) -> None:
    takers = [Taker(), Taker(Share(512)), Taker(work=MILLISECOND, sleep=19 * MILLISECOND)]
    used = shares(POLICIES[name](), *takers)
    assert used[1] / used[0] == pytest.approx(2, rel=0.03)
    assert used[2] == pytest.approx(0.05, rel=0.1)


@WEIGHTED
def test_sleep_saves_nothing_up(name: str) -> None:
    """After ten seconds of sleep it has half, not ten seconds in advance."""
    sleeper, other = Taker(), Taker()
    sleeper.wakes_at = 10 * SECOND
    processor = Processor(POLICIES[name](), sleeper, other)
    processor.run(10 * SECOND)
    assert sleeper.entity.used == 0
    processor.run(2 * SECOND)
    assert sleeper.entity.used == pytest.approx(SECOND, rel=0.05)


@WEIGHTED
def test_who_wakes_beside_one_that_computes_runs_at_once(name: str) -> None:
    sleeper = Taker(work=100_000, sleep=7 * MILLISECOND)
    shares(POLICIES[name](), sleeper, Taker(), Taker(), seconds=2)
    assert len(sleeper.waits) > 200
    assert statistics.quantiles(sleeper.waits, n=100)[94] == 0


def test_round_robin_has_who_wakes_wait_for_the_others() -> None:
    sleeper = Taker(work=100_000, sleep=7 * MILLISECOND)
    shares(RoundRobin(), sleeper, Taker(), Taker(), seconds=2)
    assert statistics.mean(sleeper.waits) > 5 * MILLISECOND
    assert max(sleeper.waits) <= 2 * LONGEST_TURN


@EVERY
def test_who_gives_way_runs_again_after_the_others(name: str) -> None:
    policy = POLICIES[name]()
    entities = [Entity(Share()) for _ in range(3)]
    for entity in entities:
        policy.add(entity)
        policy.wake(entity)
    turn = policy.next()
    assert turn is not None
    policy.charge(turn.entity, 1000)
    policy.give_way(turn.entity)
    after = policy.next()
    assert after is not None
    assert after.entity is not turn.entity


@EVERY
def test_who_gives_way_and_is_alone_goes_on(name: str) -> None:
    policy, alone = POLICIES[name](), Entity(Share())
    policy.add(alone)
    policy.wake(alone)
    for _ in range(3):
        turn = policy.next()
        assert turn is not None
        assert turn.entity is alone
        policy.charge(alone, 1000)
        policy.give_way(alone)


@EVERY
def test_a_turn_that_is_interrupted_goes_on(name: str) -> None:
    """A slice may end early, for a timer, as often as it likes: that is no reason to switch."""
    policy = POLICIES[name]()
    entities = [Entity(Share()) for _ in range(2)]
    for entity in entities:
        policy.add(entity)
        policy.wake(entity)
    first = policy.next()
    assert first is not None
    left = first.length
    for _ in range(4):
        policy.charge(first.entity, 1_000_000)
        left -= 1_000_000
        assert policy.next() == (first.entity, left)


@EVERY
def test_a_policy_forgets_who_is_gone(name: str) -> None:
    policy, share = POLICIES[name](), Share()
    stays, goes = Entity(share), Entity(share)
    for entity in (stays, goes):
        policy.add(entity)
        policy.wake(entity)
    policy.remove(goes)
    assert share.awake == 1
    for _ in range(5):
        turn = policy.next()
        assert turn is not None
        assert turn.entity is stays
        policy.charge(stays, turn.length)
    policy.sleep(stays)
    policy.remove(stays)
    assert policy.next() is None
    assert policy.patience() == FOREVER


# Caps.


@pytest.mark.parametrize("cap", [1, 10, 33, 50, 90])
def test_a_cap_is_kept_with_the_processor_idle_beside_it(cap: int) -> None:
    taker = Taker(Share(cap=cap))
    assert shares(Credit(), taker) == pytest.approx([cap / 100], rel=0.01)


def test_a_cap_holds_for_all_entities_of_a_share_together() -> None:
    capped = Share(cap=20)
    used = shares(Credit(), Taker(capped), Taker(capped), Taker())
    assert used[0] + used[1] == pytest.approx(0.2, rel=0.02)
    assert used[2] == pytest.approx(0.8, rel=0.02)


def test_a_cap_above_the_share_changes_nothing() -> None:
    assert shares(Credit(), Taker(Share(cap=90)), Taker()) == pytest.approx([0.5, 0.5], rel=0.02)


def test_what_was_used_beyond_a_cap_is_not_forgiven() -> None:
    policy, capped = Credit(), Entity(Share(cap=10))
    policy.add(capped)
    policy.wake(capped)
    policy.charge(capped, 3 * PERIOD)  # a slice that ran over, as one hypercall may
    assert policy.next() is None
    periods = 0
    while policy.next() is None:
        policy.idled(policy.patience())
        periods += 1
    assert periods == 27, "of thirty periods it may have three, and three have passed"


def test_a_cap_that_is_lifted_lets_go_at_once() -> None:
    policy, share = Credit(), Share(cap=10)
    entity = Entity(share)
    policy.add(entity)
    policy.wake(entity)
    policy.charge(entity, PERIOD // 2)
    assert policy.next() is None
    share.cap = 0
    turn = policy.next()
    assert turn is not None
    assert turn.entity is entity


@pytest.mark.parametrize(("weight", "cap"), [(0, 0), (65536, 0), (-1, 0), (256, -1), (256, 3201)])
def test_weights_and_caps_that_there_are_not_are_refused(weight: int, cap: int) -> None:
    with pytest.raises(ValueError, match=r"is from \d+ to"):
        Share(weight, cap)


# Warps.


def test_who_warps_is_done_sooner_and_gets_no_more() -> None:
    """Its work is done in one go while those that compute wait; they have their share afterwards."""

    def bursts(warp: int) -> tuple[float, float]:
        bursting = Taker(Share(warp=warp), work=40 * MILLISECOND, sleep=200 * MILLISECOND)
        used = shares(BorrowedVirtualTime(), bursting, Taker(), Taker())
        return statistics.mean(bursting.spans), used[1]

    (slow, before), (quick, after) = bursts(0), bursts(100 * MILLISECOND)
    assert slow >= 100 * MILLISECOND
    assert quick < 42 * MILLISECOND
    assert after > before - 0.05, "what it does sooner it does not do more of"


def test_a_warp_lasts_no_longer_than_its_limit() -> None:
    """One that computes and warps without end would keep the processor until it is far ahead."""
    policy = BorrowedVirtualTime()
    warped = Entity(Share(warp=SECOND, warp_limit=20 * MILLISECOND, unwarp=200 * MILLISECOND))
    other = Entity(Share())
    for entity in (warped, other):
        policy.add(entity)
        policy.wake(entity)
    took: list[tuple[Entity, int]] = []
    while sum(length for _, length in took) < 100 * MILLISECOND:
        turn = policy.next()
        assert turn is not None
        took.append(turn)
        policy.charge(*turn)
    head = 0
    for entity, length in took:
        if entity is other:
            break
        head += length
    assert 20 * MILLISECOND <= head <= 20 * MILLISECOND + CONTEXT_SWITCH_ALLOWANCE
    assert other.used == pytest.approx(50 * MILLISECOND, abs=2 * LONGEST_TURN)


def test_without_a_limit_a_warp_lasts_until_it_is_used_up() -> None:
    policy = BorrowedVirtualTime()
    warped, other = Entity(Share(warp=50 * MILLISECOND)), Entity(Share())
    for entity in (warped, other):
        policy.add(entity)
        policy.wake(entity)
    while other.used == 0:
        turn = policy.next()
        assert turn is not None
        policy.charge(*turn)
    assert 50 * MILLISECOND <= warped.used <= 50 * MILLISECOND + LONGEST_TURN


def test_who_has_been_without_for_long_enough_may_warp_in_full_again() -> None:
    policy = BorrowedVirtualTime()
    warped = Entity(Share(warp=SECOND, warp_limit=20 * MILLISECOND, unwarp=50 * MILLISECOND))
    policy.add(warped)
    policy.wake(warped)
    policy.charge(warped, 19 * MILLISECOND)
    policy.sleep(warped)
    policy.idled(50 * MILLISECOND)
    other = Entity(Share())
    policy.add(other)
    policy.wake(other)
    policy.wake(warped)
    lengths = []
    while (turn := policy.next()) is not None and turn.entity is warped:
        lengths.append(turn.length)
        policy.charge(*turn)
    assert sum(lengths) >= 20 * MILLISECOND
