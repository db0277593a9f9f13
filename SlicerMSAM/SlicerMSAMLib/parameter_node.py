"""What the panel remembers with the scene."""

import slicer
from slicer.parameterNodeWrapper import parameterNodeWrapper


@parameterNodeWrapper
class SlicerMSAMParameterNode:
    """The panel's choices; saved and restored with the scene.

    Attributes:
        inputVolume: the volume to click in.
        segmentation: where lesions are written to.
        segmentID: the selected lesion, empty when none is.
        modelName: the model that is clicked: a name of the registry, or the path of a weights file.
        proposalModelName: the model that finds lesions by itself, likewise; empty when none is chosen.
        clicksVisible: whether the clicks are shown.
        rulersVisible: whether the two diameters are shown.
        plane: the plane whose diameters are shown: axial, coronal or sagittal.
    """

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    segmentID: str = ""
    modelName: str = "default"
    proposalModelName: str = ""
    clicksVisible: bool = True
    rulersVisible: bool = False
    plane: str = "axial"
