"""The evaluations of the paper's three experiments, each as it was published and corrected.

``as_published`` gives the numbers that the published scripts give, flaws included, so that results can be set
beside published ones. ``corrected`` does what those scripts set out to do. ``rules`` says where they differ.
Both take label maps ``(y, x)`` or ``(z, y, x)`` on one grid, and the spacing of their axes in mm.
"""

from collections.abc import Mapping

from swin_umamba.evaluation.protocols.abdomen_mr import AbdomenMR
from swin_umamba.evaluation.protocols.base import FORMS, Form, PaperProtocol, ProtocolScores, Rule
from swin_umamba.evaluation.protocols.endoscopy import Endoscopy
from swin_umamba.evaluation.protocols.microscopy import Microscopy

__all__ = [
    "FORMS",
    "PROTOCOLS",
    "AbdomenMR",
    "Endoscopy",
    "Form",
    "Microscopy",
    "PaperProtocol",
    "ProtocolScores",
    "Rule",
]

PROTOCOLS: Mapping[str, type[AbdomenMR] | type[Endoscopy] | type[Microscopy]] = {
    protocol.name: protocol for protocol in (AbdomenMR, Endoscopy, Microscopy)
}
