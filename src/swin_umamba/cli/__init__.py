"""The command line: one file a verb. Heavy imports happen inside each verb, never here."""
