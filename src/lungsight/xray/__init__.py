"""One X-ray: PNG, JPEG, BMP, TIFF or DICOM, told by content -> grey pixels, bounded and checked."""

from lungsight.xray.base import Limits, XRay
from lungsight.xray.find import Found, find_inputs
from lungsight.xray.read import read_bytes, read_xray

__all__ = ["Found", "Limits", "XRay", "find_inputs", "read_bytes", "read_xray"]
