/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Opcodes of classic BPF: nothing of them is used. */
