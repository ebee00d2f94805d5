"""Organs in abdominal MR volumes."""

from swin_umamba.data.datasets.abdomen_mr import DESCRIPTION, convert_abdomen_mr
from swin_umamba.experiments.base import PaperRecipe
from swin_umamba.paper import ABDOMEN_MR

RECIPE = PaperRecipe(
    **vars(ABDOMEN_MR),
    description=DESCRIPTION,
    convert=convert_abdomen_mr,
)
