"""The ops that the core uses, one function each in torch with its row above it (:mod:`ttfamily.sim.row`)."""
