"""Rules for prebuilt native libraries from OCI registries: everything a BUILD or MODULE.bazel file may load."""

load("//rules/private:library.bzl", _ocipkg_library = "ocipkg_library")

ocipkg_library = _ocipkg_library
