# The store stays within its bounds, and nothing that befalls it makes a request fail or a byte wrong.
