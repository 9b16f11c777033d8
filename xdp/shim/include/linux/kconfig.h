/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Read by BCC before everything else, where a kernel build tree would have its
 * configuration. What BCC's own headers expect to exist is here or near by.
 */
#ifndef XDPCTL_SHIM_KCONFIG_H
#define XDPCTL_SHIM_KCONFIG_H

#define CONFIG_BPF_SYSCALL 1

#include <linux/types.h>

#endif
