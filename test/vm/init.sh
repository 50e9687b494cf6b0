#!/bin/busybox sh
# Process 1 of the VM. pivot_root(2), which container runtimes need, refuses the initramfs as the old root, so the root
# becomes an empty tmpfs over it, into which what the initramfs holds is bound rather than copied. Everything is then as a
# container runtime expects it: /proc, /sys, /dev, one cgroup2 tree with all controllers, mounts shared. The test's script
# runs, its standard output goes to the second serial line, the rest to the first, and the machine ends, in any case after
# its time, lest it stay when nobody waits for it any more.
BB=/bin/busybox
$BB mount -t proc proc /proc
$BB mount -t devtmpfs dev /dev
$BB mount -t tmpfs -o mode=755 root /new
for dir in /*; do
  case $dir in
    /new | /proc | /dev | /init) ;;
    *) $BB mkdir "/new$dir" && $BB mount --bind "$dir" "/new$dir" ;;
  esac
done
cd /new || exit
$BB mkdir -p proc sys dev tmp run var busybox
$BB --install -s /busybox
$BB chmod 1777 tmp
$BB mount --move /proc proc
$BB mount --move /dev dev
$BB mount -t sysfs sysfs sys
$BB mkdir dev/pts dev/shm
$BB mount -t devpts devpts dev/pts
$BB mount -t tmpfs -o mode=1777 shm dev/shm
$BB mount -t cgroup2 cgroup2 sys/fs/cgroup
$BB mount --move . /
exec $BB chroot . $BB sh -c '
  (/bin/busybox sleep "$(/bin/busybox cat /vm/seconds)"; /bin/busybox reboot -f) &
  /bin/busybox mount --make-rshared /
  /bin/busybox ip link set lo up
  /bin/busybox stty -F /dev/ttyS1 raw
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/busybox HOME=/root LC_ALL=C.UTF-8
  export NO_COLOR=1 NODE_OPTIONS=--import=/vm/plain-ts.mjs
  cd /fn
  /bin/sh /vm/script.sh >/dev/ttyS1
  code=$?
  printf "\n%s %s\n" "$(/bin/busybox cat /vm/end)" "$code" >/dev/ttyS1
  /bin/busybox reboot -f
'
