"""Rules for prebuilt native libraries from OCI registries, for BUILD and MODULE.bazel files; the module extension is in extensions.bzl."""

load("//rules/private:index.bzl", _ocipkg_index = "ocipkg_index")
load("//rules/private:library.bzl", _ocipkg_library = "ocipkg_library")
load("//rules/private:package.bzl", _ocipkg_package = "ocipkg_package")
load("//rules/private:push.bzl", _ocipkg_push = "ocipkg_push")

ocipkg_index = _ocipkg_index
ocipkg_library = _ocipkg_library
ocipkg_package = _ocipkg_package
ocipkg_push = _ocipkg_push
