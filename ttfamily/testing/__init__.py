"""What tests of the core and of families stand on: correlation, drawn configs, and models to compare with."""
