"""Tells what the checks found: terminal table, JSON and Markdown, all made from the same records."""
