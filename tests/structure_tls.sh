#!/bin/sh
# SPDX-License-Identifier: MIT
#
# structure_tls.sh - the shared library can be loaded with dlopen() and shared
# between processes: 64 bytes of thread-local storage at most (it is of the
# initial-exec kind, of which the loader keeps little in reserve), no text
# relocations, no executable stack; and it is never unloaded, since threads'
# exit hooks are in it.

library=.libs/libtidepool.so
if [ ! -e $library ]; then
	echo "skipped: there is no shared library in this build"
	exit 77
fi
status=0
segments=$(readelf -lW $library) || exit 1
dynamic=$(readelf -dW $library) || exit 1

tls=$(echo "$segments" | awk '$1 == "TLS" { print $6 }')
if [ -z "$tls" ]; then
	echo "there is no TLS segment: where is the thread's table?"
	status=1
elif [ $((tls)) -gt 64 ]; then
	echo "$((tls)) bytes of thread-local storage, more than 64"
	status=1
fi
if echo "$dynamic" | grep -q TEXTREL; then
	echo "there are text relocations"
	status=1
fi
if echo "$segments" | grep 'GNU_STACK' | grep -q 'RWE'; then
	echo "the stack would be executable"
	status=1
fi
if ! echo "$dynamic" | grep -q NODELETE; then
	echo "it can be unloaded"
	status=1
fi
if echo "$dynamic" | grep NEEDED | grep -q 'libnuma\.'; then
	echo "libnuma is linked: hwloc is the only source of topology"
	status=1
fi
exit $status
