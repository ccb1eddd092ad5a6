package pure
