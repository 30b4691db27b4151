"""Ops without a kernel of ours: computed by the torch reference ("golden function") that ttnn brings for them."""
