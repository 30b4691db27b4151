"""What the commands do; :mod:`ttfamily.cli` has their options and their help."""
