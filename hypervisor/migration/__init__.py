"""Xen's migration stream: a suspended domain as a file, and a domain made of one."""

from __future__ import annotations

from paravane.migration.load import Loaded, load
from paravane.migration.restore import restore
from paravane.migration.save import save
from paravane.migration.settings import Settings, configured
from paravane.migration.stream import StreamError

__all__ = ["Loaded", "Settings", "StreamError", "configured", "load", "restore", "save"]
