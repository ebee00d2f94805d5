"""Organs in abdominal MR volumes."""

from swin_umamba.data.datasets.abdomen_mr import DATASET_NAME, DESCRIPTION, convert_abdomen_mr
from swin_umamba.experiments.base import PaperRecipe
from swin_umamba.trainer_names import SWIN_UMAMBA, SWIN_UMAMBA_D, SWIN_UMAMBA_D_SCRATCH, SWIN_UMAMBA_SCRATCH

RECIPE = PaperRecipe(
    name="abdomen-mr",
    dataset_name=DATASET_NAME,
    description=DESCRIPTION,
    convert=convert_abdomen_mr,
    patch_size=(320, 320),
    batch_size=30,
    epochs=100,
    published_results={
        SWIN_UMAMBA: {"dice": 0.7760, "nsd": 0.8421},
        SWIN_UMAMBA_D: {"dice": 0.7705, "nsd": 0.8376},
        SWIN_UMAMBA_SCRATCH: {"dice": 0.7054, "nsd": 0.7647},
        SWIN_UMAMBA_D_SCRATCH: {"dice": 0.6653, "nsd": 0.7312},
    },
)
