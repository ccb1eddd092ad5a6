"""A function that names libraries."""

def libs(name):
    """Names libraries of this repository and others.

    Args:
      name: that of one of this repository.

    Returns:
      A list of labels.
    """
    return ["//" + name, "@zlib"]
