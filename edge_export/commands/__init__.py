"""The commands, one file each: parse, call, show. Heavy modules are imported inside them, for a quick `--help`."""
