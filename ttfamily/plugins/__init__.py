"""The built-in families; each is registered through the same entry point and hook as a stranger's."""
