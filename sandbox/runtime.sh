#!/bin/sh
# Puts a relocated CPython, git and ripgrep at /opt/dockwright, out of Debian's packages. Runs as root in a Debian
# root file system: in `docker build`, or in a chroot. Every program there uses the loader, the libraries and the
# locale of the tree, so that it works in any image of the same architecture, and so that the image's cannot get in.
set -eu

tree=/opt/dockwright
lib=$tree/lib
system=/usr/lib/$(uname -m)-linux-gnu

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -y -q --no-install-recommends python3.11 git ripgrep patchelf

loader=$(patchelf --print-interpreter /usr/bin/git)
own_loader=$lib/$(basename "$loader")
rm -rf $tree
mkdir -p $tree/bin $lib $tree/libexec/git-core $tree/share/git-core/templates/info

# Programs. git runs itself and these names of itself through its exec path; the rest of it is one program.
cp /usr/bin/git /usr/bin/rg $tree/bin/
cp /usr/bin/python3.11 $tree/bin/python3
for name in git git-upload-pack git-receive-pack git-upload-archive; do
  ln -s ../../bin/git $tree/libexec/git-core/$name
done

# Python's library without what needs a display, a compiler, or exists to install, test and document Python.
cp -a /usr/lib/python3.11 $lib/
cd $lib/python3.11
rm -rf __pycache__ test idlelib tkinter turtledemo ensurepip lib2to3 distutils pydoc_data config-3.11-* turtle.py \
  sitecustomize.py EXTERNALLY-MANAGED lib-dynload/nis.* lib-dynload/_tkinter.* lib-dynload/_dbm.*
find . -name __pycache__ -prune -exec rm -r {} +
# Taken as it is at run time: no time stamp can make it stale on a read-only volume.
python3.11 -I -m compileall -q -j 0 --invalidation-mode unchecked-hash .

# All that the above links to, the character sets git may meet in .gitattributes, and the one locale.
cp -L "$loader" "$own_loader"
ldd $tree/bin/* lib-dynload/*.so | awk '$2 == "=>" { print $3 }' | sort -u | xargs cp -L -t $lib
cp -a "$system/gconv" $lib/
rm -f $lib/gconv/gconv-modules.cache
cp -a /usr/lib/locale/C.utf8 $tree/
printf 'passwd: files\ngroup: files\nhosts: files dns\n' > $tree/ns
printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' > $tree/hosts

for program in "$tree"/bin/*; do
  patchelf --set-interpreter "$own_loader" "$program"
  patchelf --force-rpath --set-rpath $lib "$program"
done

# Paths compiled into the loader and the libraries point into the image. Turn each, keeping its length, into one in the
# tree, or into a name that cannot exist where the file is not wanted.
repath() { # FILE FROM TO
  to=$3
  while [ ${#to} -lt ${#2} ]; do to=${to%/*}//${to##*/}; done
  if [ ${#to} -ne ${#2} ] || ! grep -qaF "$2" "$1"; then
    echo "runtime.sh: cannot turn $2 into $3 in $1" >&2
    exit 1
  fi
  LC_ALL=C sed -i "s#$2#$to#g" "$1"
}
repath "$own_loader" /etc/ld.so.preload /proc/self/preload
repath "$own_loader" /etc/ld.so.cache /proc/self/cache
repath $lib/libc.so.6 /etc/nsswitch.conf $tree/ns
repath $lib/libc.so.6 /usr/lib/locale $tree
repath $lib/libc.so.6 "$system/gconv" $lib/gconv
repath $lib/libcrypto.so.3 /usr/lib/ssl /proc/self/-
repath $lib/libcrypto.so.3 "$system/engines-3" $lib/no-engines
repath $lib/libcrypto.so.3 "$system/ossl-modules" $lib/no-modules

chmod -R u=rwX,go=rX $tree
$tree/bin/python3 -I -S -c 'import asyncio, ctypes, json, select, socket, ssl'
$tree/bin/git --version
$tree/bin/rg --version
