"""Instruments in endoscopic pictures."""

from swin_umamba.data.datasets.endovis17 import DESCRIPTION, convert_endovis17
from swin_umamba.experiments.base import PaperRecipe
from swin_umamba.paper import ENDOSCOPY

RECIPE = PaperRecipe(
    **vars(ENDOSCOPY),
    description=DESCRIPTION,
    convert=convert_endovis17,
)
