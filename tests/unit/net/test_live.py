"""Network interfaces that come, go and are listed while domains run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.abi.netif import NetifRsp
from paravane.abi.xenbus import XenbusState
from paravane.tools.ctl.actions import VERBS
from paravane.tools.ctl.listings import HEADERS, lines
from paravane.tools.ctl.protocol import RequestError
from tests.support.lan import Lan, plain
from tests.support.netfront import Netfront

if TYPE_CHECKING:
    from paravane import Machine

OKAY = NetifRsp.OKAY


def test_interfaces_come_and_go_while_a_domain_runs(
    machine: Machine, pair: tuple[Netfront, Netfront]
) -> None:
    """By the verbs of `paravane ctl`: the next free number; away when its frontend has let go."""
    one, other = pair
    VERBS["vif-attach"](machine, one.domain, "bridge=xenbr0,mac=00:16:3e:00:00:77")
    added = Netfront(machine, one.domain, 1, first_ref=200)
    assert added.connect() is XenbusState.Connected
    other.send(plain(other))
    assert len(added.received()) == 1
    VERBS["vif-detach"](machine, one.domain, "1")
    assert added.backend_state is XenbusState.Closing
    added.write("state", int(XenbusState.Closed))
    assert machine.store.find(added.back) is None
    VERBS["vif-detach"](machine, one.domain, "0,force")
    VERBS["vif-attach"](machine, one.domain, "")
    assert machine.store.read(f"{one.back}/mac") != one.mac.hex(":").encode()
    for number in ("7", "x"):
        with pytest.raises(RequestError, match="has no network interface"):
            VERBS["vif-detach"](machine, one.domain, number)
    with pytest.raises(ValueError, match="no Ethernet address"):
        VERBS["vif-attach"](machine, one.domain, "mac=5")


def test_interfaces_go_in_the_middle_of_a_burst(lan: Lan) -> None:
    """Of a hundred frames one portion has passed when the first receiver is taken away, and another one
    when it is the sender's turn; who stays has all that was sent until then."""
    one, going, staying = lan("", "", "")
    for front in (one, going, staying):
        front.connect(posted=200)
    machine, bus = one.machine, one.machine.platform.bus
    for _ in range(100):
        one.request(plain(one))
    one.domain.events.send(one.port)
    bus.turn()
    VERBS["vif-detach"](machine, going.domain, "0,force")
    before = len(staying.received())
    assert 0 < before < 100
    bus.turn()
    VERBS["vif-detach"](machine, one.domain, "0,force")
    assert not bus.due
    after = len(staying.received())
    assert 0 < after < 100 - before
    VERBS["vif-attach"](machine, one.domain, "")
    back = Netfront(machine, one.domain, first_ref=300)
    back.connect()
    assert back.send(plain(back)) == [OKAY]
    assert staying.received() == [plain(back)]


def test_interfaces_are_listed_as_xl_lists_them(machine: Machine, pair: tuple[Netfront, Netfront]) -> None:
    one, _ = pair
    VERBS["vif-attach"](machine, one.domain, "mac=00:16:3e:00:00:77")
    rows = VERBS["network-list"](machine, one.domain, "")
    tx, rx = one.own("tx-ring-ref"), one.own("rx-ring-ref")
    assert list(lines("network-list", rows)) == [
        f"0   0  {one.mac.hex(':')}      0     4 {one.port:>6} {tx:>5}/{rx:<11} {one.back:<30}",
        f"1   0  00:16:3e:00:00:77      1     1     -1    -1/-1          {one.back[:-1]}1",
    ]
    assert HEADERS["network-list"].split() == (
        ["Idx", "BE", "Mac", "Addr.", "handle", "state", "evt-ch", "tx-/rx-ring-ref", "BE-path"]
    )
    one.write("event-channel", "\x1b[2J")  # for the terminal of whoever asks
    assert VERBS["network-list"](machine, one.domain, "")[0]["port"] == -1
    assert VERBS["block-list"](machine, one.domain, "") == []


def test_a_domain_that_goes_leaves_the_network(machine: Machine, pair: tuple[Netfront, Netfront]) -> None:
    one, other = pair
    one.send(plain(one))
    machine.destroy(one.domain)
    assert other.send(plain(other, one)) == [OKAY]
    assert [port.name for port in other.device.network.switch("xenbr0").ports] == ["vif2.0"]
