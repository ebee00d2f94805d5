"""The networks and the function that makes them by name."""
