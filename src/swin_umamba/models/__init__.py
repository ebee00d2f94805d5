"""The networks, and the function that creates them by name."""
