"""Images and masks in folders: files, working resolution, and lists of images with their roles."""
