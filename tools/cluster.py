"""One function of many things on a Dask cluster: `paravane.tools.workers.each`, beyond one machine.

Dask is an extra, and takes a second to load: only who gives an address loads it.
"""

from __future__ import annotations

import logging
import pickle
import queue
import re
import threading
import time
import warnings
from argparse import ArgumentTypeError
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import lru_cache
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from paravane.text import shown
from paravane.tools.status import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

_Common = TypeVar("_Common")
_Thing = TypeVar("_Thing")
_Result = TypeVar("_Result")

EXTRA: Final = "beyond one machine runs are spread by Dask: pip install 'paravane[dask]'"
CONNECT: Final = 10.0
"""Seconds that a scheduler has to answer."""

PATIENCE: Final = 30.0
"""Seconds that a scheduler which has answered may be gone, or without any worker."""

AHEAD: Final = 2
"""Things that are with the scheduler for each worker: one at work, the next on its way."""

_ADDRESS: Final = re.compile(r"tcp://(\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]]+):([0-9]{1,5})/?")
_MATTERS: Final = ("paravane", "unicorn")
"""What must be the same wherever something runs, or the same seed is another run."""

_ONE_AT_A_TIME: Final = threading.Lock()


def scheduler_address(text: str) -> str:
    """`tcp://HOST:PORT`, as `dask scheduler` prints it. Raises ArgumentTypeError."""
    found = _ADDRESS.fullmatch(text)
    if found is None or not 0 < int(found[2]) < 1 << 16:
        raise ArgumentTypeError(f"{text!r} is no address of a scheduler: write tcp://HOST:PORT")
    return text.rstrip("/")


class OtherVersionError(Exception):
    """A worker would run something else: a sentence."""


class _Errand(Generic[_Result]):
    """What is to be called where its pickle is loaded: so neither scheduler nor worker needs more than
    Python's own `pickle.loads` to take it, and one that lacks Paravane fails where it is said."""

    def __init__(self, function: Callable[..., _Result], *arguments: object) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., _Result], tuple[object, ...]]:
        return self._call


class Cluster:
    """The workers behind one scheduler, until it is closed."""

    def __init__(self, address: str) -> None:
        """Raises UsageError, a sentence, without Dask, and where no scheduler answers or none has workers."""
        self._address = address
        self._gone = f"the Dask scheduler at {address} is gone"
        try:
            dask, distributed = import_module("dask"), import_module("distributed")
        except ImportError:
            raise UsageError(EXTRA) from None
        _silence()
        # An image is as large as it is.
        self._settings = dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"})
        self._client = _client_of(distributed, address)
        self._gone_since: float | None = None
        try:
            self._client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, TimeoutError):
            self.close()
            raise UsageError(f"the Dask scheduler at {address} has no workers") from None

    def close(self) -> None:
        """Idempotent. What is outstanding for this client the scheduler drops."""
        with suppress(OSError, TimeoutError):
            self._client.close(timeout=CONNECT)
        self._settings.__exit__(None, None, None)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()

    def each(
        self,
        call: Callable[[_Common, _Thing], _Result],
        common: _Common,
        things: Sequence[_Thing],
        died: Callable[[str], _Result],
    ) -> Generator[tuple[int, _Result]]:
        """The number of each thing and what `call` made of it and of `common`, in the order in which they are
        done; early things are begun first. `call` is a function of a module, everything else goes through
        pickles. A thing whose worker dies is done by others; `died` makes a result of the sentence for one
        that takes all of those along that may try. What is outstanding when this is closed is cancelled.

        Raises what `call` raises, and UsageError for workers that are gone, or that cannot do it.
        """
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        outstanding: dict[Any, int] = {}
        waiting = iter(range(len(things)))
        # With its contents in the graph it is made anew when the worker that has it dies.
        shared = self._client.submit(bytes, pickle.dumps(common), pure=False)
        versions, distributed = _versions(), import_module("distributed")

        def give() -> None:
            wanted = AHEAD * max(1, len(self._workers()))
            while len(outstanding) < wanted and (at := next(waiting, None)) is not None:
                buffers: list[pickle.PickleBuffer] = []
                place = pickle.PickleBuffer(b"")  # where `shared` comes in
                errand = _Errand(_serve, versions, call, things[at], place)
                blob = pickle.dumps(errand, protocol=5, buffer_callback=buffers.append)
                future = self._client.submit(pickle.loads, blob, buffers=[shared], pure=False, priority=-at)
                outstanding[future] = at
                future.add_done_callback(done.put)

        try:
            give()
            while outstanding:
                try:
                    future = done.get(timeout=1)
                except queue.Empty:
                    self._check()
                    continue
                at = outstanding.pop(future)
                yield at, self._result(future, died)
                give()
        except distributed.comm.CommClosedError:
            raise UsageError(self._gone) from None
        finally:
            with suppress(OSError, TimeoutError):
                self._client.cancel([*outstanding, shared], force=True)

    def _result(self, future: Any, died: Callable[[str], _Result]) -> _Result:
        distributed = import_module("distributed")
        try:
            while True:
                with suppress(TimeoutError):
                    result: _Result = future.result(timeout=1)
                    return result
                self._check()
        except distributed.KilledWorker as error:
            tried = error.allowed_failures + 1
            who = "the worker" if tried == 1 else f"each of the {tried} workers"
            return died(f"{who} that tried it died")
        except OtherVersionError as error:
            raise UsageError(f"a worker of {self._address} {error}") from None
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "paravane":
                raise
            sentence = f"a worker of {self._address} has no Paravane, or another one: install this one there"
            raise UsageError(sentence) from None
        except CancelledError:
            # A client that has lost its scheduler takes all that is outstanding for cancelled.
            lost = self._client.status != "running"
            raise UsageError(
                self._gone if lost else f"what ran on {self._address} was cancelled there"
            ) from None

    def _workers(self) -> dict[str, int]:
        """Address and threads of each. None while the scheduler does not answer."""
        try:
            found: dict[str, int] = self._client.sync(self._client.scheduler.ncores, callback_timeout=CONNECT)
        except (OSError, TimeoutError):
            return {}
        return found

    def _check(self) -> None:
        """Raises UsageError when there has been nobody for too long."""
        if self._workers():
            self._gone_since = None
            return
        now = time.monotonic()
        self._gone_since = self._gone_since or now
        if now - self._gone_since > PATIENCE:
            raise UsageError(f"the Dask scheduler at {self._address} is gone, or has no workers any more")


def _silence() -> None:
    """What Dask logs of lost connections, and warns of packages that matter to nothing here, is told in one
    sentence each by whoever finds out."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"distributed\.")


def _client_of(distributed: Any, address: str) -> Any:
    """Raises UsageError. In a thread of its own: a client's time-out does not hold where somebody listens and
    says nothing."""
    made: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def make() -> None:
        try:
            made.put(distributed.Client(address, timeout=CONNECT, set_as_default=False))
        except Exception as error:  # of whatever it makes of what somebody else says there
            made.put(error)

    threading.Thread(target=make, daemon=True).start()
    try:
        found = made.get(timeout=CONNECT)
    except queue.Empty:
        found = f"not within {CONNECT:g} s"
    if isinstance(found, str | Exception):
        why = shown(" ".join(str(found).split()) or type(found).__name__)
        raise UsageError(f"no Dask scheduler answers at {address}: {why}")
    return found


def _versions() -> tuple[str, ...]:
    return tuple(metadata.version(name) for name in _MATTERS)


def _serve(
    versions: tuple[str, ...],
    call: Callable[[_Common, _Thing], _Result],
    thing: _Thing,
    common: bytes,
) -> _Result:
    """In a worker: do it, whatever threads the worker has, one after the other: they would only wait for each
    other. Raises OtherVersionError, and what `call` raises."""
    if (here := _versions()) != versions:
        both = zip(_MATTERS, here, versions, strict=True)
        told = [f"{name} {own}, not {wanted}" for name, own, wanted in both if own != wanted]
        raise OtherVersionError(f"has {', '.join(told)}")
    with _ONE_AT_A_TIME:
        return call(_common(bytes(common)), thing)


@lru_cache(maxsize=1)
def _common(data: bytes) -> Any:
    return pickle.loads(data)
