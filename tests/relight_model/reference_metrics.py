"""torchmetrics' similarity of pictures, against which ours is checked.

Where matplotlib is not installed, colour-science leaves a stand-in of that name among the loaded
modules, which torchmetrics takes for a broken installation: it is removed first.
"""

import sys

for _name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
    if getattr(sys.modules[_name], "__spec__", None) is None:
        del sys.modules[_name]

from torchmetrics.functional.image import (  # noqa: E402
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

__all__ = [
    "multiscale_structural_similarity_index_measure",
    "structural_similarity_index_measure",
]
