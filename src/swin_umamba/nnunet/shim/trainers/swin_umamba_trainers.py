"""Shows our trainers to stock nnU-Net, which imports every module of the folder ``nnUNet_extTrainer``.

The folder holds nothing else, because whatever it holds is imported at each search.
"""

from swin_umamba.nnunet.trainers import *  # noqa: F403
from swin_umamba.nnunet.trainers import trainers_with_backbones

globals().update(trainers_with_backbones())
