#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A VM of Cloud Hypervisor (52 and later) whose sockets go through causeway-switch. Not booted by us: the
# syntax is that of its document generic-vhost-user.md. Its own --vsock must not be given beside it.
exec cloud-hypervisor --cpus boot=2 --memory size=4G,shared=on \
	--kernel vmlinuz --initramfs initrd.img --cmdline "root=/dev/vda1 console=ttyS0" \
	--disk path=guest1.raw --serial tty --console off \
	--generic-vhost-user socket=/run/causeway/guest1.sock,virtio_id=19,queue_sizes=[128,128,128]
