"""How well click segmentation works: metrics, the click protocol, two real scans, pictures, a demo.

What measures knows no network: :mod:`protocol` clicks into anything that has ``set_image``, ``click`` and
``mask``, a model or one of the classical :mod:`baselines`. :mod:`scans`, :mod:`pictures`, :mod:`sheet` and
:mod:`demo` are imported on their own, since they need pip or Matplotlib.
"""

from MSAMLogic.evaluation.metrics import dice, intersection_over_union, surface_dice
from MSAMLogic.evaluation.protocol import ClickScore, ClickSeries, lesions, next_click, run_clicks

__all__ = [
    "ClickScore",
    "ClickSeries",
    "dice",
    "intersection_over_union",
    "lesions",
    "next_click",
    "run_clicks",
    "surface_dice",
]
