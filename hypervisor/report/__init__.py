"""Where a vcpu is and what it waits for, as text: one report, of a crash and of a guest that runs."""

from paravane.report.domain import domain_report
from paravane.report.vcpu import Subject, vcpu_report

__all__ = ["Subject", "domain_report", "vcpu_report"]
