"""The command line: one file for each command. Heavy imports happen inside a command, never here."""
