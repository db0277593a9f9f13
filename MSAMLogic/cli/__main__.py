"""``python -m MSAMLogic.cli``, for ``torchrun`` and for where scripts are not on the path."""

from __future__ import annotations

from MSAMLogic.cli import app

app()
