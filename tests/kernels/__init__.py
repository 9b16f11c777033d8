"""The program on the kernels that operators run: Debian's, booted in qemu."""
