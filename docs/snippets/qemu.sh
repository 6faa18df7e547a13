#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A VM of QEMU whose sockets go through causeway-switch; its memory is shared with the host's daemons.
exec qemu-system-x86_64 -accel kvm -cpu host -smp 2 -m 4G -nographic \
	-machine q35,memory-backend=mem \
	-object memory-backend-memfd,id=mem,size=4G,share=on \
	-chardev socket,id=vsock,path=/run/causeway/guest1.sock \
	-device vhost-user-vsock-pci,chardev=vsock \
	-drive file=guest1.qcow2,if=virtio
