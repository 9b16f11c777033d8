/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* BCC carries a copy of the kernel's own; that one is meant. */
#include <bcc/bpf.h>
