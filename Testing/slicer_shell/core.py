"""The real MRML scene, application logic and module logics, put together as Slicer's application does."""

from __future__ import annotations

import colorsys
from pathlib import Path

import slicer
import vtk

from .subject_hierarchy import ItemMaker

# Slicer's name of the loadable module, and the class of its logic.
MODULE_LOGICS = {
    "Annotations": "vtkSlicerAnnotationModuleLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "Colors": "vtkSlicerColorLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Data": "vtkSlicerDataModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Reformat": "vtkSlicerReformatLogic",
    "SceneViews": "vtkSlicerSceneViewsModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
    "ViewControllers": "vtkSlicerViewControllersLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}

TERMINOLOGIES = Path(__file__).parent / "terminologies"

SLICE_DISPLAYABLE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLTransformsDisplayableManager2D",
)


class Core:
    """What qSlicerCoreApplication owns: scene, logics, and how they know each other."""

    def __init__(self, temporaryFolder: Path) -> None:
        self.applicationLogic = slicer.vtkSlicerApplicationLogic()
        self.applicationLogic.SetTemporaryPath(str(temporaryFolder))
        self.applicationLogic.SetHomeDirectory(str(temporaryFolder))
        self.applicationLogic.SetShareDirectory("share")
        self._write_colors(temporaryFolder / "share" / "ColorFiles")
        self.applicationLogic.SetSliceLogics(vtk.vtkCollection())
        self.applicationLogic.SetViewLogics(vtk.vtkCollection())

        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(self.applicationLogic)
        for name in SLICE_DISPLAYABLE_MANAGERS:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)

        self.remoteIOLogic = slicer.vtkMRMLRemoteIOLogic()
        cache = temporaryFolder / "RemoteIO"
        cache.mkdir(exist_ok=True)
        self.remoteIOLogic.GetCacheManager().SetRemoteCacheDirectory(str(cache))
        self.dataIOManagerLogic = slicer.vtkDataIOManagerLogic()
        self.dataIOManagerLogic.SetMRMLApplicationLogic(self.applicationLogic)
        self.dataIOManagerLogic.SetAndObserveDataIOManager(self.remoteIOLogic.GetDataIOManager())

        self.scene = slicer.vtkMRMLScene()
        self.remoteIOLogic.SetMRMLScene(self.scene)
        self._add_crosshair()
        self.applicationLogic.SetMRMLScene(self.scene)
        self.applicationLogic.SetMRMLSceneDataIO(self.scene, self.remoteIOLogic, self.dataIOManagerLogic)

        self.moduleLogics = self._make_module_logics(temporaryFolder)
        self.subjectHierarchyItems = ItemMaker(self.scene)
        self.layoutLogic = slicer.vtkMRMLLayoutLogic()
        self.layoutLogic.SetMRMLScene(self.scene)

    def _write_colors(self, folder: Path) -> None:
        # Label maps look for Slicer's generic colours, which the wheel does not bring.
        folder.mkdir(parents=True)
        lines = ["# Color table file", "0 background 0 0 0 0"]
        for index in range(1, 33):
            red, green, blue = (int(255 * each) for each in colorsys.hsv_to_rgb(index * 0.618 % 1, 0.6, 0.9))
            lines.append(f"{index} {index} {red} {green} {blue} 255")
        (folder / "GenericColors.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _add_crosshair(self) -> None:
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)

    def _make_module_logics(self, temporaryFolder: Path) -> dict[str, vtk.vtkObject]:
        logics = {}
        for name, className in MODULE_LOGICS.items():
            logic = getattr(slicer, className)()
            logic.SetMRMLApplicationLogic(self.applicationLogic)
            if name == "Terminologies":
                # The wheel brings no terminologies; these few entries are ours.
                logic.SetModuleShareDirectory(str(TERMINOLOGIES))
                logic.SetUserContextsPath(str(temporaryFolder))
            logics[name] = logic
            if name == "Colors":
                # Display nodes look up their default colours through it.
                self.applicationLogic.SetColorLogic(logic)
        for name, logic in logics.items():
            self.applicationLogic.SetModuleLogic(name, logic)
            logic.SetMRMLScene(self.scene)
        return logics
