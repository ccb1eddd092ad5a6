"""The programs that are released with these rules.

In a checkout there are none, and the tool is compiled from its sources. .github/workflows/release_prep.sh fills this in for the
archive of a release.
"""

# Names of platforms, as go_platform returns them, to structs with the fields url and sha256.
RELEASED_TOOLS = {}
