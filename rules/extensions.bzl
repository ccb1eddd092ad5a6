"""The module extension for modules that share their libraries; see ocipkg_library in defs.bzl for the simple way."""

load("//rules/private:extension.bzl", _ocipkg = "ocipkg")

ocipkg = _ocipkg
