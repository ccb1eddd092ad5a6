"""go_library under another name."""

load("@rules_go//go:def.bzl", "go_library")

def other_library(name, **kwargs):
    """A go_library.

    Args:
      name: name of the target.
      **kwargs: attributes of go_library.
    """
    go_library(name = name, **kwargs)
