"""The tree: operations, permissions, quotas, watches and transactions, as xenstored 4.17 does them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paravane.abi.errno import Errno
from paravane.devices.xenstore import Permission, Quota, Right, Store, forget_domain, populate_domain
from paravane.refusal import Refusal
from tests.support.xenstore_guest import Guest

if TYPE_CHECKING:
    from collections.abc import Callable


def refused(errno: Errno, call: Callable[..., object], *args: object) -> None:
    with pytest.raises(Refusal) as caught:
        call(*args)
    assert caught.value.errno is errno, str(caught.value)


def perms(*texts: str) -> tuple[Permission, ...]:
    return tuple(map(Permission.parse, texts))


def test_a_new_domain_finds_xls_nodes(store: Store) -> None:
    home = "/local/domain/1"
    assert store.read(f"{home}/name") == b"guest1"
    assert store.read(f"{home}/domid") == b"1"
    assert store.read(f"{home}/memory/target") == b"65536"
    assert store.read(f"{home}/cpu/0/availability") == b"online"
    assert store.directory(home) == (
        *("vm", "name", "cpu", "memory", "device", "control", "data", "drivers", "feature", "attr", "error"),
        *("domid", "store", "console"),
    )
    vm = store.read(f"{home}/vm").decode()
    assert store.read(f"{vm}/name") == b"guest1"
    assert store.read("/local/domain/0/backend/console/1/0/frontend") == f"{home}/console".encode()
    assert [str(entry) for entry in store.permissions(home)] == ["n0", "r1"]


def test_a_guest_reads_its_home_and_writes_only_where_it_owns(store: Store) -> None:
    guest = store.access(1)
    assert guest.read("/local/domain/1/name") == b"guest1"
    refused(Errno.EACCES, guest.write, "/local/domain/1/name", b"me")
    refused(Errno.EACCES, guest.write, "/local/domain/1/mine", b"x")
    guest.write("/local/domain/1/data/mine/deep", b"x")
    assert [str(entry) for entry in store.permissions("/local/domain/1/data/mine")] == ["n1"]
    assert store.directory("/local/domain/1/data") == ("mine",)


def test_a_guest_learns_nothing_where_it_may_not_look(store: Store) -> None:
    guest = store.access(1)
    refused(Errno.EACCES, guest.read, "/")
    refused(Errno.EACCES, guest.read, "/no/such/node")
    refused(Errno.EACCES, guest.read, "/local/domain/2/name")
    refused(Errno.EACCES, guest.read, "/local/domain/2/nothing")
    refused(Errno.ENOENT, guest.read, "/local/domain/1/nothing")
    refused(Errno.EACCES, guest.remove, "/local/domain/2/nothing")
    refused(Errno.EINVAL, guest.read, "/local/domain/1/")


def test_permissions_open_a_node_to_one_domain(store: Store) -> None:
    one, two = store.access(1), store.access(2)
    path = "/local/domain/1/data/shared"
    one.write(path, b"v")
    refused(Errno.EACCES, two.read, path)
    one.set_permissions(path, perms("n1", "r2"))
    assert two.read(path) == b"v"
    refused(Errno.EACCES, two.write, path, b"w")
    refused(Errno.EACCES, two.set_permissions, path, perms("n1", "b2"))
    one.set_permissions(path, perms("n1", "w2", "b2"))
    refused(Errno.EACCES, two.read, path)
    two.write(path, b"w")
    assert store.read(path) == b"w"
    one.set_permissions(path, perms("b1"))
    assert two.read(path) == b"w"


def test_only_domain_0_gives_a_node_away(store: Store) -> None:
    path = "/local/domain/1/data"
    refused(Errno.EPERM, store.access(1).set_permissions, path, perms("n2"))
    refused(Errno.ENOENT, store.access(1).set_permissions, path, perms("n77"))
    store.make(path, "n2")
    assert store.permissions(path)[0].domid == 2


def test_mkdir_keeps_what_is_there_and_rm_takes_all_below(store: Store) -> None:
    guest = store.access(1)
    base = "/local/domain/1/data"
    guest.write(f"{base}/a/b", b"1")
    guest.mkdir(f"{base}/a/b")
    assert guest.read(f"{base}/a/b") == b"1"
    assert guest.read(f"{base}/a") == b""
    guest.remove(f"{base}/a")
    refused(Errno.ENOENT, guest.read, f"{base}/a/b")
    guest.remove(f"{base}/a")
    refused(Errno.ENOENT, guest.remove, f"{base}/a/b")
    assert store.directory(base) == ()
    refused(Errno.EINVAL, store.remove, "/")


def test_children_are_listed_in_the_order_they_came(store: Store) -> None:
    for name in ("z", "a", "m"):
        store.write(f"/tool/{name}", b"")
    assert store.directory("/tool") == ("xenstored", "z", "a", "m")


def test_a_guest_may_own_a_thousand_nodes(store: Store) -> None:
    guest = store.access(1)
    free = 1000 - store.entries(1)
    for number in range(free - 1):
        parent = f"/{number % 30}" if number >= 30 else ""
        guest.write(f"/local/domain/1/data{parent}/{number}", b"")
    refused(Errno.ENOSPC, guest.write, "/local/domain/1/data/last/one", b"")
    refused(Errno.ENOENT, guest.read, "/local/domain/1/data/last")
    guest.write("/local/domain/1/data/last", b"")
    refused(Errno.ENOSPC, guest.mkdir, "/local/domain/1/data/more")
    guest.remove("/local/domain/1/data/last")
    guest.mkdir("/local/domain/1/data/more")
    assert store.entries(1) == 1000


def test_a_node_of_a_guest_has_less_than_2048_bytes(store: Store) -> None:
    guest = store.access(1)
    path = "/local/domain/1/data/big"
    refused(Errno.ENOSPC, guest.write, path, bytes(2048 - 32))
    refused(Errno.ENOENT, guest.read, path)
    guest.write(path, bytes(2048 - 33))
    refused(Errno.ENOSPC, guest.write, path, bytes(2048 - 32))
    refused(Errno.ENOSPC, guest.set_permissions, path, perms("n1", "r2"))
    refused(Errno.ENOSPC, guest.mkdir, f"{path}/child")
    store.write("/tool/big", bytes(4000))


def test_a_node_of_a_guest_has_at_most_five_permissions(store: Store) -> None:
    guest = store.access(1)
    guest.set_permissions("/local/domain/1/data", perms("n1", "r2", "r0", "w0", "b0"))
    refused(Errno.ENOSPC, guest.set_permissions, "/local/domain/1/data", perms("n1", *["r2"] * 5))


def test_a_domain_with_a_dead_ones_id_inherits_nothing(store: Store) -> None:
    one = store.access(1)
    path = "/local/domain/1/data/shared"
    one.write(path, b"secret")
    one.set_permissions(path, perms("n1", "r2", "r9"))
    transaction = store.transaction(1)
    store.access(1, transaction).set_permissions("/local/domain/1/error", perms("n1", "r2"))
    forget_domain(store, 2)
    for domid in (2, 9):
        populate_domain(store, domid, "new", 1024)
        refused(Errno.EACCES, store.access(domid).read, path)
    transaction.commit()
    refused(Errno.EACCES, store.access(2).read, "/local/domain/1/error")


def test_a_dead_domains_nodes_go_wherever_they_are(store: Store) -> None:
    store.make("/local/domain/2/data", "n2", "b1")
    store.access(1).write("/local/domain/2/data/from1", b"x")
    before = set(store.paths())
    forget_domain(store, 1)
    gone = before - set(store.paths())
    assert "/local/domain/2/data/from1" in gone
    assert store.entries(1) == 0
    assert not [path for path in store.paths() if "/1/" in path or path.endswith("/1")]


def test_host_watches_fire_at_once_and_for_every_change_below(store: Store) -> None:
    heard: list[str] = []
    watch = store.watch("/tool/x", heard.append)
    store.write("/tool/x/y", b"1")
    store.write("/tool/xx", b"1")
    store.remove("/tool/x")
    assert heard == ["/tool/x", "/tool/x/y", "/tool/x"]
    watch.close()
    store.write("/tool/x", b"")
    assert len(heard) == 3


def test_host_callbacks_run_after_the_change_and_may_change_more(store: Store) -> None:
    heard: list[tuple[str, bytes | None]] = []

    def backend(path: str) -> None:
        heard.append((path, store.find("/tool/front/state")))
        if store.find("/tool/front/state") == b"3":
            store.write("/tool/front/state", b"4")

    store.watch("/tool/front", backend)
    store.write("/tool/front/state", b"3")
    assert heard == [("/tool/front", None), ("/tool/front/state", b"3"), ("/tool/front/state", b"4")]


def test_domains_are_announced_to_the_host(store: Store) -> None:
    heard: list[str] = []
    store.watch("@introduceDomain", heard.append)
    store.watch("@releaseDomain", heard.append)
    heard.clear()
    store.introduce(1, Guest(store).connection)
    forget_domain(store, 1)
    assert heard == ["@introduceDomain", "@releaseDomain"]


def test_a_malformed_path_cannot_be_watched(store: Store) -> None:
    refused(Errno.EINVAL, store.watch, "/a/", lambda path: None)


def test_a_transaction_is_invisible_until_it_is_committed(store: Store) -> None:
    heard: list[str] = []
    store.watch("/local/domain/1/data", heard.append)
    heard.clear()
    transaction = store.transaction(1)
    guest = store.access(1, transaction)
    guest.write("/local/domain/1/data/a", b"1")
    guest.write("/local/domain/1/data/b/c", b"2")
    assert guest.read("/local/domain/1/data/a") == b"1"
    assert guest.directory("/local/domain/1/data").children == ("a", "b")
    assert store.directory("/local/domain/1/data") == ()
    assert heard == []
    transaction.commit()
    store.deliver()
    assert store.read("/local/domain/1/data/b/c") == b"2"
    assert heard == ["/local/domain/1/data/a", "/local/domain/1/data/b/c"]
    assert store.entries(1) == 14


@pytest.mark.parametrize(
    "intrusion",
    [
        lambda store: store.write("/local/domain/1/data/a", b"other"),
        lambda store: store.remove("/local/domain/1/data/a"),
        lambda store: store.make("/local/domain/1/data/a", "n1", "r2"),
        lambda store: store.write("/local/domain/1/data/a/child", b""),
    ],
)
def test_a_conflict_is_eagain_and_changes_nothing(store: Store, intrusion: Callable[[Store], None]) -> None:
    store.access(1).write("/local/domain/1/data/a", b"0")
    transaction = store.transaction(1)
    guest = store.access(1, transaction)
    guest.read("/local/domain/1/data/a")
    guest.write("/local/domain/1/error/b", b"1")
    intrusion(store)
    refused(Errno.EAGAIN, transaction.commit)
    assert store.find("/local/domain/1/error/b") is None


def test_a_node_that_was_missing_conflicts_when_it_appears(store: Store) -> None:
    transaction = store.transaction(1)
    refused(Errno.ENOENT, store.access(1, transaction).read, "/local/domain/1/data/a")
    store.write("/local/domain/1/data/a", b"")
    refused(Errno.EAGAIN, transaction.commit)


def test_changes_elsewhere_are_no_conflict(store: Store) -> None:
    transaction = store.transaction(1)
    store.access(1, transaction).write("/local/domain/1/data/a", b"1")
    store.write("/local/domain/2/data/a", b"2")
    store.write("/local/domain/1/error/x", b"")
    transaction.commit()
    assert store.read("/local/domain/1/data/a") == b"1"


def test_created_and_removed_in_one_transaction_leaves_nothing(store: Store) -> None:
    transaction = store.transaction(1)
    guest = store.access(1, transaction)
    guest.write("/local/domain/1/data/a/b", b"1")
    guest.remove("/local/domain/1/data/a")
    assert guest.directory("/local/domain/1/data").children == ()
    transaction.commit()
    assert store.directory("/local/domain/1/data") == ()
    assert store.entries(1) == 11


def test_a_transaction_counts_against_the_quota(store: Store) -> None:
    made = Store(Quota(nodes=20))
    populate_domain(made, 1, "guest", 1024)
    transaction = made.transaction(1)
    guest = made.access(1, transaction)
    for number in range(9):
        guest.mkdir(f"/local/domain/1/data/{number}")
    refused(Errno.ENOSPC, guest.mkdir, "/local/domain/1/data/x")
    refused(Errno.ENOSPC, transaction.commit)
    assert made.directory("/local/domain/1/data") == ()


def test_a_transaction_that_touches_too_much_fails(store: Store) -> None:
    made = Store(Quota(transaction_nodes=8))
    populate_domain(made, 1, "guest", 1024)
    transaction = made.transaction(1)
    guest = made.access(1, transaction)
    for number in range(7):
        guest.mkdir(f"/local/domain/1/data/{number}")
    refused(Errno.ENOSPC, guest.mkdir, "/local/domain/1/data/7")
    refused(Errno.ENOMEM, transaction.commit)
    assert made.directory("/local/domain/1/data") == ()


def test_rights_are_those_of_the_first_entry_that_names_the_domain(store: Store) -> None:
    entries = perms("r1", "n2", "b2")
    assert store.rights.of(2, entries) is Right.NONE
    assert store.rights.of(3, entries) is Right.READ
    assert Right.OWNER in store.rights.of(1, entries)
    assert Right.OWNER in store.rights.of(0, entries)


def test_a_tree_goes_on_from_what_was_saved(store: Store) -> None:
    store.access(1).write("/local/domain/1/data/a/b", b"x")
    store.make("/local/domain/1/data/a", "n1", "r2")
    state = store.save()
    copy = Store(state=state)
    assert copy.save() == state
    assert copy.paths() == store.paths()
    assert [copy.entries(domid) for domid in range(3)] == [store.entries(domid) for domid in range(3)]
    assert copy.access(2).directory("/local/domain/1/data/a").children == ("b",)
    transaction = copy.transaction(1)
    copy.access(1, transaction).write("/local/domain/1/data/a/b", b"y")
    transaction.commit()
    assert (copy.read("/local/domain/1/data/a/b"), store.read("/local/domain/1/data/a/b")) == (b"y", b"x")
    copy.add_domain(2)
    refused(Errno.EACCES, copy.access(2).directory, "/local/domain/1/data/a")
    assert store.access(2).directory("/local/domain/1/data/a").children == ("b",)
