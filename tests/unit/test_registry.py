"""The domains of a machine by number: which are taken, and whom a guest means by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.abi.domid import DomId
from paravane.abi.errno import Errno
from paravane.refusal import Refusal
from paravane.registry import CONTROL_DOMID
from tests.support.residents import Resident, Residents, new_registry

if TYPE_CHECKING:
    from collections.abc import Callable

HIGHEST = DomId.FIRST_RESERVED - 1


@pytest.fixture
def registry() -> Residents:
    """With the control domain, and guests 1 and 5."""
    made = new_registry()
    for domid in (1, 5):
        made.enter(Resident(domid))
    return made


def refused(errno: Errno, call: Callable[..., object], *args: int) -> None:
    with pytest.raises(Refusal) as caught:
        call(*args)
    assert caught.value.errno is errno


def test_a_guest_means_itself_by_its_number_or_where_it_may_by_a_word(registry: Residents) -> None:
    assert [registry.named(5, domid).domid for domid in (DomId.SELF, 5, 1, CONTROL_DOMID)] == [5, 5, 1, 0]
    assert [registry.by_id(domid).domid for domid in (5, 1, 0)] == [5, 1, 0]
    assert [registry.other(5, domid).domid for domid in (1, 0)] == [1, 0]
    refused(Errno.EPERM, registry.other, 5, 5)


@pytest.mark.parametrize("nobody", [2, HIGHEST, DomId.IO, DomId.XEN, DomId.INVALID, DomId.IDLE])
def test_nobody_has_a_number_that_is_free_or_reserved(registry: Residents, nobody: int) -> None:
    refused(Errno.ESRCH, registry.by_id, nobody)
    refused(Errno.ESRCH, registry.named, 5, nobody)
    refused(Errno.ESRCH, registry.other, 5, nobody)


def test_the_word_for_oneself_is_no_number(registry: Residents) -> None:
    refused(Errno.ESRCH, registry.by_id, DomId.SELF)
    refused(Errno.ESRCH, registry.other, 5, DomId.SELF)


def test_the_next_domain_from_a_number_on(registry: Residents) -> None:
    assert [registry.first_from(domid) for domid in (0, 1, 2, 5, 6)] == [0, 1, 5, 5, None]


@pytest.mark.parametrize("domid", [1, CONTROL_DOMID, -1, DomId.SELF, DomId.XEN])
def test_a_number_is_taken_once_and_never_a_reserved_one(registry: Residents, domid: int) -> None:
    with pytest.raises(ValueError, match="is not free"):
        registry.enter(Resident(domid))
    assert [domain.domid for domain in registry] == [0, 1, 5]


def test_numbers_are_not_used_again_before_all_others_were(registry: Residents) -> None:
    assert registry.free_domid() == 6
    registry.leave(5)
    assert registry.free_domid() == 6
    registry.enter(Resident(HIGHEST))
    assert registry.free_domid() == 2
    for domid in range(2, HIGHEST):
        registry.enter(Resident(domid))
    with pytest.raises(ValueError, match=f"all {HIGHEST} domain numbers are taken"):
        registry.free_domid()
    registry.leave(1)
    assert registry.free_domid() == 1


def test_a_guest_is_present_from_when_it_is_built_until_it_is_taken_away(registry: Residents) -> None:
    guest = registry.by_id(5)
    assert registry.present == {}
    registry.begin(guest)
    present = registry.present
    assert present == {5: guest}
    registry.retire(guest)
    assert present == {}
    assert registry.by_id(5) is guest
