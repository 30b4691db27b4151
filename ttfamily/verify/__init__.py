"""``ttfamily verify``: a device held against the simulator's values, op by op, and timed."""
