"""`slicer.i18n`: there is no translation here, so every text stays as it is."""

from __future__ import annotations


def translate(context: str, text: str) -> str:
    """The text in the application's language."""
    return text


def tr(text: str) -> str:
    """The text in the application's language, for the file that calls."""
    return text
