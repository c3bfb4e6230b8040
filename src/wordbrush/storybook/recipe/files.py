"""What the stages keep on disk, as bytes for ``wordbrush.files.write_files``: a file is there whole or not at all."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.files import write_files

if TYPE_CHECKING:
    import numpy as np


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON."""
    write_files({path: (json.dumps(value, indent=1) + "\n").encode()})


def write_array(path: Path, array: np.ndarray) -> None:
    """Write ``array`` in NumPy's own format."""
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array)
    write_files({path: buffer.getvalue()})


def write_sheet(path: Path, rows: list[np.ndarray]) -> None:
    """Write rows of pictures, each uint8 (n, h, w, 3) with the same n, as one PNG."""
    import numpy as np
    from PIL import Image

    from wordbrush.files import png

    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    write_files({path: png(Image.fromarray(sheet), {})})
