"""The networks with ``from_pretrained``, ``save_pretrained`` and ``push_to_hub`` of the Hugging Face Hub.

::

    from swin_umamba.models.hub import SwinUMambaD

    network = SwinUMambaD.from_pretrained("user/repository")  # or a local folder
    network.save_pretrained("folder")
    network.push_to_hub("user/repository")

The methods are huggingface_hub's own (``PyTorchModelHubMixin``). They are mixed in here and not into the
networks themselves, because a base class that exists only where some package is installed would make the same
class differ from machine to machine, and because other code should not pay for the import. The classes are
subclasses of the networks with the same constructors and state dicts, so ``load_state_dict`` transfers a
trained network.

Requires the extra ``hub``: ``pip install swin-umamba[hub]``.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from swin_umamba.errors import CheckpointError, UsageError
from swin_umamba.json_files import read_json
from swin_umamba.models import swin_umamba, swin_umamba_d, swin_umamba_dd
from swin_umamba.models.network import SegmentationNetwork
from swin_umamba.weights.checkpoint import load_checkpoint
from swin_umamba.weights.safetensors_file import save_safetensors

try:
    from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError
except ImportError as error:
    raise ImportError(
        f"swin_umamba.models.hub needs huggingface_hub ({error}): pip install 'swin-umamba[hub]'"
    ) from error

TAGS = ["medical-imaging", "mamba", "image-segmentation"]
CONFIG_NAME = "config.json"
_DOWNLOAD_ARGUMENTS = {"revision", "cache_dir", "force_download", "token", "local_files_only"}


class _HubMixin(PyTorchModelHubMixin):
    """The mixin, with our way of reading and writing files: safe, atomic, and with no tensor left random."""

    def _save_pretrained(self, save_directory: Path) -> None:
        assert isinstance(self, SegmentationNetwork)
        save_safetensors(save_directory / "model.safetensors", self.state_dict())

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Any:
        """Read a network as huggingface_hub does, with its arguments, but check config.json first."""
        config = Path(pretrained_model_name_or_path) / CONFIG_NAME
        if not config.parent.is_dir():
            given = {key: value for key, value in kwargs.items() if key in _DOWNLOAD_ARGUMENTS}
            with suppress(HfHubHTTPError):  # huggingface_hub will ask again, and say what is missing
                config = Path(hf_hub_download(str(pretrained_model_name_or_path), CONFIG_NAME, **given))
        if config.exists():
            read_json(config, dict, error=CheckpointError, hint="fetch it again from its source")
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **kwargs: Any) -> Any:
        try:
            # Without memory of its own, so that sizes in config.json cost nothing until they are compared
            # with the weights.
            with torch.device("meta"):
                return super()._from_pretrained(model_id=model_id, **kwargs)
        except (TypeError, ValueError, UsageError) as error:
            raise CheckpointError(
                f"config.json and the arguments given describe no {cls.__name__}: {error}",
                where=model_id,
                hint="check that the model is one of this class",
            ) from error

    @classmethod
    def _load_as_safetensor(cls, model: Any, model_file: str, map_location: str, strict: bool) -> Any:
        """Fill the network with every tensor of the file, whatever ``strict`` says."""
        weights = load_checkpoint(model_file, map_location)
        try:
            model.load_state_dict(weights, strict=True, assign=True)
        except RuntimeError as error:
            raise CheckpointError(
                f"the weights do not fit {cls.__name__}: {error}",
                where=model_file,
                hint="check that config.json and the weights come from the same network",
            ) from error
        return model.eval()

    _load_as_pickle = _load_as_safetensor


class SwinUMamba(
    swin_umamba.SwinUMamba,
    _HubMixin,
    library_name="swin-umamba",
    pipeline_tag="image-segmentation",
    tags=[*TAGS],
):
    """``SwinUMamba`` with the methods of the Hub."""


class SwinUMambaD(
    swin_umamba_d.SwinUMambaD,
    _HubMixin,
    library_name="swin-umamba",
    pipeline_tag="image-segmentation",
    tags=[*TAGS],
):
    """``SwinUMambaD`` with the methods of the Hub."""


class SwinUMambaDD(
    swin_umamba_dd.SwinUMambaDD,
    _HubMixin,
    library_name="swin-umamba",
    pipeline_tag="image-segmentation",
    tags=[*TAGS],
):
    """``SwinUMambaDD`` with the methods of the Hub."""
