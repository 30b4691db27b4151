"""``python -m ttfamily`` is the command ``ttfamily``."""

from __future__ import annotations

from ttfamily.cli import main

if __name__ == "__main__":
    main()
