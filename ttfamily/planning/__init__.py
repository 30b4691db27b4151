"""Planning: what a model takes of a mesh, and how fast it can be, before anything is loaded."""
