"""An attempt and the world around it: its files, what it tells, what stops it."""
