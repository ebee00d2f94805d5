"""Images read by region, and label maps written by region: what does not have to fit into memory."""
