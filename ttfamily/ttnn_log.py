"""ttnn's own log."""

from __future__ import annotations


def quiet_ttnn() -> None:
    """Keep ttnn's own log lines off the terminal: its errors reach the caller as exceptions."""
    from loguru import logger

    logger.disable("ttnn")
