"""What BUILD files load that Gazelle's language `ocipkg_prebuilt` writes (docs/gazelle.md), which writes the load as well: targets of
a library whose files lie in the workspace, by names that no other language claims.

Not in defs.bzl, which is loaded for MODULE.bazel and must not need rules_cc for it.
"""

load("@rules_cc//cc:defs.bzl", "cc_import", "cc_library")
load("//rules/private:prebuilt_library.bzl", _prebuilt_library = "prebuilt_library")

def ocipkg_cc_library(name, **kwargs):
    """The `cc_library` of rules_cc: what to depend on, or the headers alone.

    Args:
      name: name of the target.
      **kwargs: attributes of cc_library.
    """
    cc_library(name = name, **kwargs)

def ocipkg_cc_import(name, **kwargs):
    """The `cc_import` of rules_cc: one library, where that links it right.

    Args:
      name: name of the target.
      **kwargs: attributes of cc_import.
    """
    cc_import(name = name, **kwargs)

ocipkg_prebuilt_library = _prebuilt_library
