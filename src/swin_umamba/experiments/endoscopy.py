"""Instruments in endoscopic pictures."""

from swin_umamba.data.datasets.endovis17 import DATASET_NAME, DESCRIPTION, convert_endovis17
from swin_umamba.experiments.base import PaperRecipe
from swin_umamba.trainer_names import SWIN_UMAMBA, SWIN_UMAMBA_D, SWIN_UMAMBA_D_SCRATCH, SWIN_UMAMBA_SCRATCH

RECIPE = PaperRecipe(
    name="endoscopy",
    dataset_name=DATASET_NAME,
    description=DESCRIPTION,
    convert=convert_endovis17,
    patch_size=(384, 640),
    batch_size=13,
    epochs=250,
    published_results={
        SWIN_UMAMBA: {"dice": 0.6767, "nsd": 0.6922},
        SWIN_UMAMBA_D: {"dice": 0.6783, "nsd": 0.6933},
        SWIN_UMAMBA_SCRATCH: {"dice": 0.5483, "nsd": 0.5632},
        SWIN_UMAMBA_D_SCRATCH: {"dice": 0.6402, "nsd": 0.6547},
    },
)
