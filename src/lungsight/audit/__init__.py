"""Is a score about lungs? The shortcut audit. Needs `lungsight[train]`."""

from lungsight.audit.audit import STEPS, Audit, audit, audit_onnx, audit_predictions, audit_score, read_audit
from lungsight.audit.audited import model_hash
from lungsight.audit.records import FULL, QUICK, Found, Settings, Verdict

__all__ = [
    "FULL",
    "QUICK",
    "STEPS",
    "Audit",
    "Found",
    "Settings",
    "Verdict",
    "audit",
    "audit_onnx",
    "audit_predictions",
    "audit_score",
    "model_hash",
    "read_audit",
]
