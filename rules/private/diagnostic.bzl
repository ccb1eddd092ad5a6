"""The one shape of an error of these rules, as the package internal/diagnostic has that of the command.

Every error is made by `diagnostic` and ends in `fail_with`; fail() is called nowhere else. docs/messages.md is written from
the calls of `diagnostic`, so that what is said there has to be told from the source: a string, or one with .format().
"""

def diagnostic(message, do):
    """Makes an error.

    Args:
      message: what failed, with the thing's name, and why: a sentence or several.
      do: what to do about it, without a full stop; an empty string where the message says that by itself.

    Returns:
      A struct of both.
    """
    return struct(do = do, message = message)

def fail_with(error):
    """Fails.

    Args:
      error: what `diagnostic` has returned.
    """
    fail("\n" + error.message + ("\nWhat to do: {}.".format(error.do) if error.do else ""))
