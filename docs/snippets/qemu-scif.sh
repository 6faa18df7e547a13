#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The same with a SCIF device of scifd's beside it: QEMU 11 and later carry virtio devices of any id.
exec qemu-system-x86_64 -accel kvm -cpu host -smp 2 -m 4G -nographic \
	-machine q35,memory-backend=mem \
	-object memory-backend-memfd,id=mem,size=4G,share=on \
	-chardev socket,id=vsock,path=/run/causeway/guest1.sock \
	-device vhost-user-vsock-pci,chardev=vsock \
	-chardev socket,id=scif,path=/run/causeway/guest1.scif \
	-device vhost-user-test-device-pci,chardev=scif,virtio-id=45,num_vqs=2,vq_size=256,config_size=64 \
	-drive file=guest1.qcow2,if=virtio
