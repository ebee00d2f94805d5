"""What importing a part brings along, and what it must not: seconds, or packages that are not everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trained.model_folder import make_model_folder

VIEWER = {"napari", "qtpy", "magicgui"}
# In the order in which one process imports them: what a part may bring along is not a fault of the next one.
STEPS: list[tuple[str, set[str]]] = [
    ("import swin_umamba", {"torch", "numpy", "nnunetv2"}),
    ("import swin_umamba.napari.layers", {"torch", "nnunetv2"} | VIEWER),
    ("import swin_umamba.napari.models", {"torch", "nnunetv2"} | VIEWER),
    ("import swin_umamba.napari.segment", {"torch", "nnunetv2"} | VIEWER),
    ("import swin_umamba.models.registry", {"huggingface_hub", "monai", "nnunetv2"}),
    (
        "swin_umamba.create_model('swin_umamba_d', depths=(1,) * 4, features_per_stage=(8,) * 4)",
        {"huggingface_hub", "swin_umamba.models.hub", "monai", "nnunetv2"},
    ),
    ("import swin_umamba.baselines.monai_networks", {"monai"}),
    ("import swin_umamba.nnunet.trainers", {"monai", "tensorboard"}),
    ("import swin_umamba.nnunet.training.train", {"monai", "tensorboard"}),
]
QUICK = 4  # the others import PyTorch
UNNEEDED = {
    "nnunetv2",
    "batchgenerators",
    "batchgeneratorsv2",
    "dynamic_network_architectures",
    "acvl_utils",
    "matplotlib",
    "seaborn",
    "sklearn",
    "pandas",
    "skimage.segmentation",
    "skimage.morphology",
    "scipy.ndimage",
    "scipy.optimize",
    "scipy.spatial",
    "scipy.stats",
    "SimpleITK",
    "nibabel",
    "pydicom",
    "requests",
    "jinja2",
    "monai",
    "sympy",
    "triton",
    "torch._dynamo",
    "torch._inductor",
    "torch.fx.experimental.symbolic_shapes",
}
"""What takes seconds to import, and a network of ours does not need to predict a picture."""


@pytest.mark.parametrize(
    "steps", [pytest.param(STEPS, marks=pytest.mark.slow, id="all"), pytest.param(STEPS[:QUICK], id="quick")]
)
def test_a_part_brings_along_no_more_than_it_needs(steps: list[tuple[str, set[str]]]) -> None:
    code = (
        "import json, sys\n"
        "for step, unwanted in json.loads(sys.argv[1]):\n"
        "    exec(step)\n"
        "    print('step', json.dumps([step, *sorted(set(unwanted) & set(sys.modules))]))\n"
    )
    given = json.dumps([(step, sorted(unwanted)) for step, unwanted in steps])
    done = subprocess.run([sys.executable, "-c", code, given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("step ")]
    assert found == [[step] for step, _ in steps]


def test_prediction_brings_along_no_more_than_it_needs(tmp_path: Path) -> None:
    model = make_model_folder(tmp_path, network="swin_umamba_d")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "case_0000.png")
    code = (
        "import json, sys\n"
        "from swin_umamba.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "print(json.dumps(sorted(sys.modules)))\n"
        "sys.exit(code)\n"
    )
    arguments = ["-m", model, "-i", tmp_path / "case_0000.png", "-o", tmp_path / "out", "--device", "cpu"]
    command = [sys.executable, "-c", code, "predict", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported = json.loads(done.stdout.splitlines()[-1])
    assert "swin_umamba.inference.predictor" in imported
    assert sorted(UNNEEDED & set(imported)) == []
    assert (tmp_path / "out" / "case.png").is_file()
