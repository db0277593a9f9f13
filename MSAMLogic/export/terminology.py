"""Coded names for segments: what they are, and where in the body.

Codes are SNOMED CT's, as 3D Slicer's standard lists ("Segmentation category and type - DICOM master list",
"Anatomic codes - DICOM master list") and DICOM PS3.16 CID 7150, 7159 and 4031 have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from MSAMLogic.errors import ImageError


@dataclass(frozen=True)
class Code:
    """A coded concept (DICOM PS3.3 section 8).

    Attributes:
        value: for example "39607008".
        scheme: who defines the value, for example "SCT" for SNOMED CT.
        meaning: what people read, for example "Lung".
    """

    value: str
    scheme: str
    meaning: str

    def __str__(self) -> str:
        """Return the code as 3D Slicer writes it: scheme, value and meaning with ^ between."""
        return f"{self.scheme}^{self.value}^{self.meaning}"


def _snomed(meanings: Mapping[str, str]) -> dict[str, Code]:
    return {meaning.lower(): Code(value, "SCT", meaning) for meaning, value in meanings.items()}


ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
LESION = Code("52988006", "SCT", "Lesion")

TYPES = {
    "lesion": LESION,
    **_snomed(
        {
            "Mass": "4147007",
            "Nodule": "27925004",
            "Cyst": "367643001",
            "Edema": "79654002",
            "Hemorrhage": "50960005",
            "Abscess": "44132006",
            "Necrosis": "6574001",
            "Neoplasm": "108369006",
            "Neoplasm, Primary": "86049000",
            "Neoplasm, Secondary": "14799000",
        }
    ),
}
REGIONS = _snomed(
    {
        "Abdomen": "113345001",
        "Adrenal gland": "23451007",
        "Bladder": "89837001",
        "Brain": "12738006",
        "Breast": "76752008",
        "Cervix": "71252005",
        "Chest": "51185008",
        "Colon": "71854001",
        "Esophagus": "32849002",
        "Extremity": "66019005",
        "Head": "69536005",
        "Heart": "80891009",
        "Kidney": "64033007",
        "Liver": "10200004",
        "Lower limb": "61685007",
        "Lung": "39607008",
        "Lymph node": "59441001",
        "Mediastinum": "72410000",
        "Neck": "45048000",
        "Ovary": "15497006",
        "Pancreas": "15776009",
        "Pelvis": "12921003",
        "Prostate": "41216001",
        "Rectum": "34402009",
        "Spine": "421060004",
        "Spleen": "78961009",
        "Stomach": "69695003",
        "Thigh": "68367000",
        "Thyroid": "69748006",
        "Upper limb": "53120007",
        "Uterus": "35039007",
    }
)


def find_code(text: str, known: Mapping[str, Code]) -> Code:
    """Return the code that ``text`` names, in words of ``known`` or in full as scheme^value^meaning.

    Raises:
        ImageError: when it does neither.
    """
    code = known.get(text.strip().lower())
    if code is not None:
        return code
    parts = [part.strip() for part in text.split("^")]
    # The lengths are those of DICOM's attributes (SH and LO); Slicer separates with ~ and |.
    if (
        len(parts) == 3
        and all(parts)
        and len(parts[0]) <= 16
        and len(parts[1]) <= 16
        and len(parts[2]) <= 64
        and not set(text) & set("~|\\\n")
    ):
        return Code(parts[1], parts[0], parts[2])
    names = ", ".join(code.meaning for code in known.values())
    raise ImageError(
        f"'{text}' is no coded name; use one of {names}; or give the code in full, such as SCT^39607008^Lung."
    )
