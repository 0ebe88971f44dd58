"""The commands of `replay`: one module each, called as the command. Its first line is the command's summary."""
