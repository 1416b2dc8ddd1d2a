"""xenpmu_op (public/pmu.h)."""

from enum import IntEnum
from typing import Annotated

from paravane.abi.layout import U32, U64, Layout
from paravane.abi.names import c_names
from paravane.classes import NamedTuple


@c_names("XENPMU_")
class PmuOp(IntEnum):
    """Commands of xenpmu_op."""

    mode_get = 0
    mode_set = 1
    feature_get = 2
    feature_set = 3
    init = 4
    finish = 5
    lvtpc_set = 6
    flush = 7


@c_names("XENPMU_MODE_")
class PmuMode(IntEnum):
    """Value of XENPMU_mode_set."""

    OFF = 0
    SELF = 1 << 0
    HV = 1 << 1
    ALL = 1 << 2


class PmuVersion(NamedTuple):
    """Interface version."""

    maj: U32
    min: U32


PMU_VERSION = Layout("xen_pmu_params.version", PmuVersion)


class XenPmuParams(NamedTuple):
    """Argument of every command."""

    version: Annotated[PmuVersion, PMU_VERSION]
    val: U64
    vcpu: U32
    pad: U32


XEN_PMU_PARAMS = Layout("xen_pmu_params", XenPmuParams)
