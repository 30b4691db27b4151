"""The device blocks and the numbers they are built from; knows no architecture by name."""
