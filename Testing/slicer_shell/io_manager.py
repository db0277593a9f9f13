"""Reading and writing of nodes and scenes, by the real storage nodes and module logics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

VOLUME = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".dcm", ".img", ".hdr", ".tif", ".tiff")
_LABEL_MAP_BIT = 1


class qSlicerCoreIOManager:
    """`slicer.app.coreIOManager()`."""

    def __init__(self, core: Any) -> None:
        self._core = core

    def fileType(self, fileName: str) -> str:
        name = str(fileName).lower()
        if name.endswith((".seg.nrrd", ".seg.nhdr", ".seg.vtm")):
            return "SegmentationFile"
        if name.endswith((".mrk.json", ".fcsv")):
            return "MarkupsFile"
        if name.endswith((".mrb", ".mrml")):
            return "SceneFile"
        if name.endswith(VOLUME):
            return "VolumeFile"
        if name.endswith((".h5", ".tfm", ".txt")):
            return "TransformFile"
        return "NoFile"

    def fileWriterFileType(self, node: Any) -> str:
        return "NodeFile"

    def loadNodes(
        self, fileType: str, properties: dict[str, Any], loaded: Any = None, messages: Any = None
    ) -> bool:
        fileName = str(properties["fileName"])
        if not Path(fileName).exists():
            if messages is not None:
                messages.AddMessage(0x10000, f"file not found: {fileName}")
            return False
        if fileType == "SceneFile":
            return self._load_scene(fileName, properties, messages)
        reader = getattr(self, "_load_" + fileType, None)
        node = reader(fileName, properties, messages) if reader is not None else None
        if node is None:
            return False
        if properties.get("name"):
            node.SetName(self._core.scene.GenerateUniqueName(properties["name"]))
        if loaded is not None:
            loaded.AddItem(node)
        if fileType == "VolumeFile" and properties.get("show", True):
            self._show_volume(node)
        return True

    def loadScene(self, fileName: str, clear: bool = True) -> bool:
        return self._load_scene(fileName, {"clear": clear}, None)

    def saveNodes(self, fileType: str, properties: dict[str, Any], messages: Any = None) -> bool:
        if fileType == "SceneFile":
            return self._save_scene(properties, messages)
        node = self._core.scene.GetNodeByID(properties["nodeID"])
        storage = node.GetStorageNode()
        if storage is None:
            node.AddDefaultStorageNode()
            storage = node.GetStorageNode()
        if storage is None:
            return False
        storage.SetFileName(str(properties["fileName"]))
        if "useCompression" in properties:
            storage.SetUseCompression(properties["useCompression"])
        return bool(storage.WriteData(node))

    def saveScene(self, fileName: str, screenShot: Any = None) -> bool:
        return self._save_scene({"fileName": fileName}, None)

    def _load_scene(self, fileName: str, properties: dict[str, Any], messages: Any) -> bool:
        scene = self._core.scene
        clear = bool(properties.get("clear", False))
        if fileName.lower().endswith(".mrb"):
            return bool(scene.ReadFromMRB(fileName, clear, messages))
        scene.SetURL(fileName)
        return bool(scene.Connect(messages) if clear else scene.Import(messages))

    def _save_scene(self, properties: dict[str, Any], messages: Any) -> bool:
        fileName = str(properties["fileName"])
        scene = self._core.scene
        if fileName.lower().endswith(".mrb"):
            return bool(scene.WriteToMRB(fileName, None, messages))
        if fileName.lower().endswith(".mrml"):
            scene.SetURL(fileName)
            scene.SetRootDirectory(str(Path(fileName).parent))
            return bool(scene.Commit(fileName, messages))
        return bool(scene.SaveSceneToSlicerDataBundleDirectory(fileName, None, messages))

    def _load_VolumeFile(self, fileName: str, properties: dict[str, Any], messages: Any) -> Any:
        options = _LABEL_MAP_BIT if properties.get("labelmap") else 0
        for bit, name in (
            (2, "center"),
            (4, "singleFile"),
            (8, "autoWindowLevel"),
            (16, "discardOrientation"),
        ):
            if properties.get(name):
                options |= bit
        name = properties.get("name") or _stem(fileName)
        return self._core.moduleLogics["Volumes"].AddArchetypeVolume(fileName, name, options)

    def _load_SegmentationFile(self, fileName: str, properties: dict[str, Any], messages: Any) -> Any:
        logic = self._core.moduleLogics["Segmentations"]
        name = properties.get("name") or _stem(fileName)
        return logic.LoadSegmentationFromFile(fileName, properties.get("autoOpacities", True), name)

    def _load_MarkupsFile(self, fileName: str, properties: dict[str, Any], messages: Any) -> Any:
        nodeID = self._core.moduleLogics["Markups"].LoadMarkups(fileName, _stem(fileName), messages)
        return self._core.scene.GetNodeByID(nodeID) if nodeID else None

    def _load_TransformFile(self, fileName: str, properties: dict[str, Any], messages: Any) -> Any:
        return self._core.moduleLogics["Transforms"].AddTransform(fileName, self._core.scene)

    def _show_volume(self, node: Any) -> None:
        # Slicer's volume reader makes what it read the active volume and shows it.
        selection = self._core.applicationLogic.GetSelectionNode()
        if node.IsA("vtkMRMLLabelMapVolumeNode"):
            selection.SetActiveLabelVolumeID(node.GetID())
            self._core.applicationLogic.PropagateLabelVolumeSelection(1)
        else:
            selection.SetActiveVolumeID(node.GetID())
            self._core.applicationLogic.PropagateBackgroundVolumeSelection(1)


def _stem(fileName: str) -> str:
    name = Path(fileName).name
    for ending in (".seg.nrrd", ".mrk.json", ".nii.gz"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return Path(fileName).stem
