"""One X-ray: PNG, JPEG, BMP, TIFF or DICOM, told by content -> grey pixels, bounded and checked."""

from lungsight.xray.base import Limits, XRay
from lungsight.xray.read import read_xray

__all__ = ["Limits", "XRay", "read_xray"]
