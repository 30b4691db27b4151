"""From a model on a mesh to text: the decode graph and its trace, the loop, and what a run took."""
