"""How long a vcpu ran, waited and slept (public/vcpu.h, `struct vcpu_runstate_info`)."""

from __future__ import annotations

from paravane.abi.vcpu import Runstate, VcpuRunstateInfo


class RunStates:
    """The run state of one vcpu and the time, in nanoseconds of system time, it has spent in each."""

    def __init__(self, state: Runstate, now: int) -> None:
        self.state = state
        self._since = now
        self._spent = [0] * len(Runstate)

    @classmethod
    def restored(cls, record: VcpuRunstateInfo) -> RunStates:
        """Go on from what `record` gave."""
        states = cls(Runstate(record.state), record.state_entry_time)
        states._spent = list(record.time)
        return states

    def enter(self, state: Runstate, now: int) -> None:
        """From `now` on the vcpu is in `state`. Entering the state it is in already changes nothing."""
        if state is self.state:
            return
        self._spent[self.state] += now - self._since
        self._since = now
        self.state = state

    def record(self) -> VcpuRunstateInfo:
        """As a guest's registered area shows it: the time in the present state is not in it yet."""
        return VcpuRunstateInfo(self.state, self._since, tuple(self._spent))

    def at(self, now: int) -> VcpuRunstateInfo:
        """As VCPUOP_get_runstate_info answers: the present state is counted up to `now`."""
        spent = list(self._spent)
        spent[self.state] += now - self._since
        return VcpuRunstateInfo(self.state, self._since, tuple(spent))
