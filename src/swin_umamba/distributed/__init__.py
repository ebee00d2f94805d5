"""Processes that train together: joining them, stopping all for one reason, starting those of one host."""
