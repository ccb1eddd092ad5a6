"""The platforms that libraries are published for, from target triples to what Bazel knows them by.

internal/ccplan/platform.go gives the same constraints to the targets of a library; a test compares the two.
"""

load(":diagnostic.bzl", "diagnostic")

_CPUS = {
    "aarch64": Label("@platforms//cpu:aarch64"),
    "armv7": Label("@platforms//cpu:armv7"),
    "i686": Label("@platforms//cpu:x86_32"),
    "powerpc64le": Label("@platforms//cpu:ppc64le"),
    "riscv64": Label("@platforms//cpu:riscv64"),
    "s390x": Label("@platforms//cpu:s390x"),
    "x86_64": Label("@platforms//cpu:x86_64"),
}

# What follows the processor in a triple.
_SYSTEMS = {
    "apple-darwin": [Label("@platforms//os:macos")],
    "pc-windows-gnu": [Label("@platforms//os:windows"), Label("//rules/windows_abi:mingw")],
    "pc-windows-msvc": [Label("@platforms//os:windows"), Label("//rules/windows_abi:msvc")],
    "unknown-linux-gnu": [Label("@platforms//os:linux"), Label("//rules/libc:glibc")],
    "unknown-linux-gnueabihf": [Label("@platforms//os:linux"), Label("//rules/libc:glibc")],
    "unknown-linux-musl": [Label("@platforms//os:linux"), Label("//rules/libc:musl")],
}

# All that `platforms` of a library may name, and that a hub has spokes for where nothing is named.
TRIPLES = [
    "aarch64-apple-darwin",
    "aarch64-pc-windows-msvc",
    "aarch64-unknown-linux-gnu",
    "aarch64-unknown-linux-musl",
    "armv7-unknown-linux-gnueabihf",
    "i686-unknown-linux-gnu",
    "powerpc64le-unknown-linux-gnu",
    "riscv64-unknown-linux-gnu",
    "s390x-unknown-linux-gnu",
    "x86_64-apple-darwin",
    "x86_64-pc-windows-gnu",
    "x86_64-pc-windows-msvc",
    "x86_64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
]

def constraints_of(triple):
    """Returns the constraint values that a platform has which a triple names.

    Args:
      triple: one of TRIPLES.

    Returns:
      A list of Labels: processor, system and, where the system leaves it open, C library or ABI.
    """
    cpu, _, system = triple.partition("-")
    return [_CPUS[cpu]] + _SYSTEMS[system]

def constraint_values():
    """Returns every constraint value that tells one triple from another, each once.

    Returns:
      A list of Labels.
    """
    values = {value: None for value in _CPUS.values()}
    for system in _SYSTEMS.values():
        values.update({value: None for value in system})
    return list(values)

def platforms_error(platforms):
    """Says what is wrong with the platforms that somebody asks for.

    Args:
      platforms: a list of target triples.

    Returns:
      A diagnostic, or None.
    """
    seen = {}
    for triple in platforms:
        if triple not in TRIPLES:
            return diagnostic(
                "platforms: {} is not one of {}.".format(repr(triple), ", ".join(TRIPLES)),
                "write one of these; `ocipkg inspect IMAGE` tells for which of them a library is there",
            )
        if triple in seen:
            return diagnostic("platforms: {} is there twice.".format(repr(triple)), "name it once")
        seen[triple] = True
    return None
