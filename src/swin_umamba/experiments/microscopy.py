"""Cells in microscopy."""

from swin_umamba.data.datasets.neurips_cell import DATASET_NAME, DESCRIPTION, convert_neurips_cell
from swin_umamba.experiments.base import PaperRecipe
from swin_umamba.trainer_names import SWIN_UMAMBA, SWIN_UMAMBA_D, SWIN_UMAMBA_D_SCRATCH, SWIN_UMAMBA_SCRATCH

RECIPE = PaperRecipe(
    name="microscopy",
    dataset_name=DATASET_NAME,
    description=DESCRIPTION,
    convert=convert_neurips_cell,
    patch_size=(512, 512),
    batch_size=12,
    epochs=350,
    published_results={
        SWIN_UMAMBA: {"f1": 0.5806},
        SWIN_UMAMBA_D: {"f1": 0.5982},
        SWIN_UMAMBA_SCRATCH: {"f1": 0.4561},
        SWIN_UMAMBA_D_SCRATCH: {"f1": 0.5186},
    },
    # The authors' download calls the test images and their instance maps otherwise.
    image_folders=("imagesTs", "imagesVal"),
    reference_folders=("instancesTs", "labelsVal-instance-mask"),
)
