"""The folder in which the blocks of the pages run, made once a session: data, a model, the commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from documents.command_server import write_programs
from own_environment import own_environment

DATASET = "Dataset001_Mine"
TRAINER = "nnUNetTrainerSwinUMambaDScratch"
PARTS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with ``bin``, whose programs start at once."""
    folder = tmp_path_factory.mktemp("commands")
    write_programs(folder)
    server = subprocess.Popen(
        [sys.executable, Path(__file__).parent / "command_server.py", folder],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 600
        while not (folder / "socket").exists():
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield folder
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages name: data sets, images, truth and a model; not to be written to."""
    from nnunet.planned_data import _shrink_trainers
    from swin_umamba.data.datasets.synthetic import make_nuclei
    from swin_umamba.nnunet.environment import Dataset, Folders
    from swin_umamba.nnunet.planning.plan import plan
    from swin_umamba.nnunet.training.train import train

    root = tmp_path_factory.mktemp("prepared")
    folders = Folders.below(root)
    raw = make_nuclei(folders.raw / DATASET, num_training=8, num_test=6, size=64)
    dataset = Dataset(DATASET, folders)
    with own_environment() as monkeypatch:
        _shrink_trainers(monkeypatch)
        plan(dataset, patch_size=(64, 64), batch_size=4, workers=1)
        train(
            dataset,
            trainer=TRAINER,
            fold=0,
            epochs=1,
            iterations_per_epoch=40,
            validation_iterations=1,
            learning_rate=5e-3,
            schedule="annealed",
            seed=0,
            workers=0,
            device="cpu",
        )
    model = folders.results / DATASET / f"{TRAINER}__SwinUMambaPlans__2d"
    shutil.copytree(model, root / "MODEL")
    _lay_out(raw, root)
    _draw_others(root)
    return root


def _lay_out(raw: Path, root: Path) -> None:
    """Show the test cases of the data set as a user's own folders."""
    shutil.copytree(raw / "labelsTs", root / "TRUTH")
    shutil.copytree(raw / "instancesTs", root / "OBJECTS")
    for copy, source in (("TRUE", "OBJECTS"), ("TRUE_CLASSES", "TRUTH")):
        shutil.copytree(root / source, root / copy)
        shutil.copytree(root / source, root / copy.replace("TRUE", "PREDICTED"))
    (root / "IMAGES").mkdir()
    (root / "MASKS").mkdir()
    for path in sorted((raw / "imagesTs").iterdir()):
        case = path.name.replace("_0000", "")
        shutil.copy(path, root / "IMAGES" / case)
        mask = np.asarray(PILImage.open(raw / "labelsTs" / case)) > 0
        PILImage.fromarray(mask.astype(np.uint8) * 255).save(root / "MASKS" / case)
    first = sorted((root / "IMAGES").iterdir())[0]
    shutil.copy(first, root / "IMAGE.png")
    shutil.copy(root / "TRUTH" / first.name, root / "MASK.png")


def _draw_others(root: Path) -> None:
    """Write a volume, a DICOM series, a slide and an OME-Zarr image."""
    import nibabel

    from exchange.made_series import Series
    from regions.slides import aperio_file, tissue
    from regions.zarr_images import voxels, write_image

    picture = tissue(256, 256)
    aperio_file(root / "slide.svs", picture)
    write_image(root / "image.ome.zarr", picture.transpose(2, 0, 1), "cyx", 3, (3, 64, 64), levels=2)
    volume = voxels(4, 40, 48, dtype="int16")
    nibabel.save(nibabel.Nifti1Image(volume.T, np.diag([1.0, 1.0, 3.0, 1.0])), root / "image.nii.gz")
    Series((4, 40, 48)).write(root / "scan")
