"""The seam to the kernel: everything below it needs a kernel, nothing above it does.

`bpf` (libbpf through ctypes; objects in `maps` and `programs`), `pins` (the BPF file
system), `netlink` (pyroute2) and `compiler` (bcc, in a helper process). Each foreign
library is imported in one module and its exceptions stop there.
"""
