"""The packages: the .deb, the image, the DaemonSet, each used once as operators use it."""
