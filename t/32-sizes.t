# Bodies of any size and framing go through and come back from the cache byte for byte, with constant memory.
