"""What the Gazelle language ocipkg_prebuilt writes, which also writes the load: rules_cc's rules and ours, under names that no other
language claims. What it wrote is committed, so that names and attributes have to stay.

Not in defs.bzl, which is loaded for MODULE.bazel and must not need rules_cc for it; and not in docs/reference, because nobody writes
it by hand, and a bzl_library of all that rules_cc loads is another one for each of its versions.
"""

load("@rules_cc//cc:defs.bzl", "cc_import", "cc_library")
load("//rules/private:prebuilt_library.bzl", "prebuilt_library")

def ocipkg_cc_library(name, **kwargs):
    """A cc_library of a library whose files lie in the workspace.

    Args:
      name: name of the target.
      **kwargs: attributes of cc_library.
    """
    cc_library(name = name, **kwargs)

def ocipkg_cc_import(name, **kwargs):
    """A cc_import of a library whose files lie in the workspace.

    Args:
      name: name of the target.
      **kwargs: attributes of cc_import.
    """
    cc_import(name = name, **kwargs)

def ocipkg_prebuilt_library(name, **kwargs):
    """A library that cc_import would link in a way that fails at run time.

    Args:
      name: name of the target.
      **kwargs: attributes of prebuilt_library.
    """
    prebuilt_library(name = name, **kwargs)
