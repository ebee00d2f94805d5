"""Pictures, charts and the HTML report of a model's results."""
