"""Scans to try the module on, in Slicer's Sample Data module."""

from __future__ import annotations

from pathlib import Path

CATEGORY = "MSAM"
_STORE = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
# Thumbnail, title, file, node, SHA256: scans that Slicer itself offers, so they are downloaded once for both.
SAMPLES = (
    (
        "MSAMBrainTumor",
        "Brain tumour (MR, T1 with contrast)",
        "RegLib_C01_1.nrrd",
        "MRBrainTumor1",
        "998cb522173839c78657f4bc0ea907cea09fd04e44601f17c82ea27927937b95",
    ),
    (
        "MSAMChest",
        "Chest (CT)",
        "CT-chest.nrrd",
        "CTChest",
        "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e",
    ),
)


def register(icons: Path) -> None:
    """Register the scans; called once Slicer has started.

    Args:
        icons: the folder of the pictures.
    """
    import SampleData

    for name, title, file, node_name, sha256 in SAMPLES:
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=title,
            uris=_STORE + sha256,
            fileNames=file,
            nodeNames=node_name,
            checksums=f"SHA256:{sha256}",
            thumbnailFileName=str(icons / f"{name}.png"),
        )
