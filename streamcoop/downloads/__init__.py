"""Music to keep: tracks that one owns as files with tags and cover, one at a time or all in an archive."""
