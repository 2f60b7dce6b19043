"""Is a COVID-19 score about lungs? The shortcut audit. Needs `lungsight[train]`."""

from lungsight.audit.audit import Audit, audit
from lungsight.audit.records import FULL, QUICK, Settings, Verdict

__all__ = ["FULL", "QUICK", "Audit", "Settings", "Verdict", "audit"]
