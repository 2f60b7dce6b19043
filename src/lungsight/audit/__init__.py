"""Is a score about lungs? The shortcut audit. Needs `lungsight[train]`."""

from lungsight.audit.audit import STEPS, Audit, audit, audit_onnx, audit_predictions, audit_score, read_audit
from lungsight.audit.audited import model_hash
from lungsight.audit.data_audit import FoundInData, audit_data
from lungsight.audit.records import FULL, QUICK, Found, Settings, Verdict

__all__ = [
    "FULL",
    "QUICK",
    "STEPS",
    "Audit",
    "Found",
    "FoundInData",
    "Settings",
    "Verdict",
    "audit",
    "audit_data",
    "audit_onnx",
    "audit_predictions",
    "audit_score",
    "model_hash",
    "read_audit",
]
