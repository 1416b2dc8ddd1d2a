"""Where a vcpu is and what it waits for, as text: one report, of a crash and of a guest that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paravane.late import late

if TYPE_CHECKING:
    from paravane.report.domain import domain_report
    from paravane.report.vcpu import Subject, vcpu_report
else:
    __getattr__ = late(__name__, domain="domain_report", vcpu="Subject vcpu_report")

__all__ = ["Subject", "domain_report", "vcpu_report"]
