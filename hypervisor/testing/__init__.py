"""Guest kernels as tests, with pytest or without: what `paravane test` and the pytest plugin stand on."""

from paravane.testing.cases import Case, Finding, Outcome, find, run
from paravane.testing.matching import Like, like
from paravane.testing.verdict import Verdict

__all__ = ["Case", "Finding", "Like", "Outcome", "Verdict", "find", "like", "run"]
