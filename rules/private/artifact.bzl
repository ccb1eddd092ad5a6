"""Which artifact a library of an external repository is."""

ArtifactInfo = provider(
    doc = "The artifact that a library is.",
    fields = {
        "inspected": "File that says it, as `ocipkg inspect --json` does.",
    },
)
