"""Cells in microscopy."""

from swin_umamba.data.datasets.neurips_cell import DESCRIPTION, convert_neurips_cell
from swin_umamba.experiments.base import PaperRecipe
from swin_umamba.paper import MICROSCOPY

RECIPE = PaperRecipe(
    **vars(MICROSCOPY),
    description=DESCRIPTION,
    convert=convert_neurips_cell,
    # The authors' download calls the test images and their instance maps otherwise.
    image_folders=("imagesTs", "imagesVal"),
    reference_folders=("instancesTs", "labelsVal-instance-mask"),
)
