"""The six networks of VMamba's second generation, told apart by shapes alone.

arXiv 2401.10166, version 3: a block is SS2D with state size 1 and without gate, then an MLP; the stem and the
steps between stages are convolutions. They differ in depth, width, and the channels of a scan.
"""

from __future__ import annotations

from swin_umamba.weights.backbone import BackboneRecord, WeightsRecord

_LICENCE = (
    "MIT, as the code of VMamba; no other statement for the weights is known. The images are ImageNet's, "
    "whose terms ask for non-commercial research"
)
_RELEASE = "https://github.com/MzeroMiko/VMamba/releases/download/%23v2cls/"
_NOTE = (
    "The release asset, as linked in VMamba's README. Its authors publish neither hash nor size; the file "
    "may hold more than the {megabytes:.0f} MB of its parameters. Its hash is stored when it is first used."
)
_OLDER = r"^layers\.\d+\.blocks\.\d+\.(op|self_attention)\.conv2d\.bias$"


def _record(size: str, drop_path: float, top1: float, parameters: float, asset: str) -> BackboneRecord:
    """Return the record of a network, by the name of its size: ``tiny_s1l8`` scans 1 x C, 8 blocks deep."""
    name = f"vmamba_{size}"
    ratio, depth = (int(number) for number in size.rpartition("_s")[2].split("l"))
    own_blocks = "|".join(map(str, range(depth)))
    width = 128 if size.startswith("base") else 96
    return BackboneRecord(
        name=name,
        title="VMamba of the second generation",
        features_per_stage=(width, 2 * width, 4 * width, 8 * width),
        arguments={"depths": (2, 2, depth, 2), "ratio": ratio, "d_state": 1},
        network="vmamba_v2",
        recognised_by={
            "patch_embed.5.weight": (width, width // 2, 3, 3),
            "layers.0.blocks.0.op.A_logs": (4 * ratio * width, 1),
            "layers.0.blocks.0.mlp.fc1.bias": (4 * width,),
            f"layers.2.blocks.{depth - 1}.norm.weight": (4 * width,),
        },
        first_convolution="patch_embed.0.weight",
        adapts_channels=True,
        stem_features=width // 2,
        drop_path_rate=drop_path,
        spellings=(
            (r"^((module|model|backbone|encoder)\.)+", ""),
            (r"^(layers\.\d+\.blocks\.\d+)\.ln_1\.", r"\1.norm."),
            (r"^(layers\.\d+\.blocks\.\d+)\.self_attention\.", r"\1.op."),
            (r"^(norm|head)\.", r"classifier.\1."),
            (r"\.op\.(x_proj|dt_projs)\.weight$", r".op.\1_weight"),
        ),
        # Linear layers are stored as kernels of 1 x 1, too, and stacked ones one below the other.
        may_be_reshaped=r"\.op\.(x_proj|dt_projs)_weight$|\.(in_proj|out_proj|fc1|fc2)\.weight$",
        classifier=("classifier.", "outnorm"),
        foreign_keys={
            _OLDER: "the first generation of VMamba",
            rf"^layers\.2\.blocks\.(?!({own_blocks})\.)\d+\.op\.A_logs$": "a deeper VMamba",
        },
        weights=(
            WeightsRecord(
                name=f"{name}_v2cls",
                architecture=f"VMamba v2: depths 2, 2, {depth}, 2, widths {width} to {8 * width}, scans of "
                f"{ratio} x the width, {parameters:.1f} M parameters",
                file_name=asset,
                url=_RELEASE + asset,
                size=None,
                sha256=None,
                licence=_LICENCE,
                source="https://github.com/MzeroMiko/VMamba#main-results",
                top1=top1,
                note=_NOTE.format(megabytes=4 * parameters),
            ),
        ),
        advice="give a file of the network's own size; swin-umamba weights inspect FILE says which it is",
    )


RECORDS = (
    _record("tiny_s1l8", 0.2, 82.6, 30.249064, "vssm1_tiny_0230s_ckpt_epoch_264.pth"),
    _record("tiny_s2l5", 0.2, 82.5, 30.705832, "vssm_tiny_0230_ckpt_epoch_262.pth"),
    _record("small_s2l15", 0.3, 83.6, 50.147752, "vssm_small_0229_ckpt_epoch_222.pth"),
    _record("small_s1l20", 0.3, 83.3, 49.012840, "vssm1_small_0229s_ckpt_epoch_240.pth"),
    _record("base_s2l15", 0.6, 83.9, 88.557800, "vssm_base_0229_ckpt_epoch_237.pth"),
    _record("base_s1l20", 0.5, 83.8, 86.614504, "vssm1_base_0229s_ckpt_epoch_225.pth"),
)
