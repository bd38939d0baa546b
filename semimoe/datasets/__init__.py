"""Images and masks in ordinary folders: reading, working resolution, lists, protocols, tables."""
