"""Is a COVID-19 score about lungs? The shortcut audit. Needs `lungsight[train]`."""

from lungsight.audit.records import FULL, QUICK, Settings, Verdict
from lungsight.audit.run import Audit, audit

__all__ = ["FULL", "QUICK", "Audit", "Settings", "Verdict", "audit"]
