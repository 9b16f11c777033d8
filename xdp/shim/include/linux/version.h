/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* BCC asks whether an old kernel would refuse something: none of those is meant. */
#define KERNEL_VERSION(major, minor, patch) (((major) << 16) + ((minor) << 8) + (patch))
#define LINUX_VERSION_CODE		    KERNEL_VERSION(5, 10, 0)
