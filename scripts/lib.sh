# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# lib.sh - what scripts/demo and scripts/check share: packages and builds.
# To be sourced by a bash with `set -euo pipefail`, in the top directory.
# All it says goes to stderr, one line a step; a step's own output goes to a
# log under build/, whose end is shown if the step fails.

# What it takes to build all of it, the server too.
# shellcheck disable=SC2034
BUILD_PACKAGES=(autoconf automake gcc libc6-dev libhttp-parser-dev libhwloc-dev libmimalloc-dev
	libtool libuv1-dev libzstd-dev make pkgconf)

installed_something=no

say() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
	say "$*"
	exit 1
}

# logged LOG COMMAND...: runs it; if it fails, shows the end of the log and stops.
logged() {
	local log=$1
	shift

	mkdir -p "${log%/*}"
	if ! "$@" >"$log" 2>&1 </dev/null; then
		tail -n 30 "$log" >&2
		die "that failed; all of it is in $log"
	fi
}

# Run as root by need_packages. Services of the packages are not started (that is
# what policy-rc.d is for; one that is there already is the administrator's, and
# stays), nor enabled for the next boot.
# shellcheck disable=SC2016
INSTALL='
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ] && [ ! -L "$policy" ]; then
		trap "rm -f $policy" EXIT
		trap "exit 129" HUP
		trap "exit 130" INT
		trap "exit 143" TERM
		printf "#!/bin/sh\nexit 101\n" >"$policy"
		chmod 755 "$policy"
	fi
	export DEBIAN_FRONTEND=noninteractive
	options="-q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3"
	apt-get $options update &&
	apt-get $options install -y --no-install-recommends "$@" || exit 1
	command -v systemctl >/dev/null || exit 0
	units="s|^.*/lib/systemd/system/\([^/@]*\.service\)\$|\1|p"
	for unit in $(dpkg -L "$@" | sed -n "$units"); do
		systemctl --root=/ disable "$unit" || echo "not disabled: $unit"
	done
'

# need_packages PACKAGE...: installs those that are missing.
need_packages() {
	local installed package missing=() root=()

	# One call for all: a second run is to be quick. The status is "ii ".
	installed=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' "$@" 2>/dev/null || true)
	for package in "$@"; do
		grep -qx ".i $package" <<<"$installed" || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0

	command -v apt-get >/dev/null || die "no apt-get here; please install: ${missing[*]}"
	if [ "$(id -u)" -ne 0 ]; then
		if sudo -n true 2>/dev/null; then
			root=(sudo -n)
		elif command -v sudo >/dev/null && [ -t 0 ]; then
			sudo -v || die "please install as root: ${missing[*]}"
			root=(sudo -n)
		else
			die "please install as root: apt-get install ${missing[*]}"
		fi
	fi
	say "installing ${missing[*]} (log: build/apt.log)"
	logged build/apt.log "${root[@]}" sh -c "$INSTALL" install "${missing[@]}"
	installed_something=yes
}

# True if there is no configure, or what it is made from has changed.
configure_is_stale() {
	[ ! -e configure ] || [ ! -e Makefile.in ] ||
		[ -n "$(find configure.ac Makefile.am ./*/Makefile.inc -newer configure)" ]
}

# build DIR [CONFIGURE-ARGUMENT...]: configures and makes in DIR, build/NAME.
build() {
	local dir=$1 wanted
	shift

	if configure_is_stale; then
		say "making configure (log: build/autoreconf.log)"
		logged build/autoreconf.log autoreconf -fi
	fi
	mkdir -p "$dir"
	wanted="$* CC=${CC-} CFLAGS=${CFLAGS-} CPPFLAGS=${CPPFLAGS-} LDFLAGS=${LDFLAGS-}"
	if [ ! -e "$dir/config.status" ] || [ "$installed_something" = yes ] ||
		[ configure -nt "$dir/config.status" ] ||
		[ "$wanted" != "$(cat "$dir/configured-as" 2>/dev/null)" ]; then
		say "configuring $dir${*:+ with $*} (log: $dir-configure.log)"
		rm -f "$dir/configured-as"
		logged "$dir-configure.log" configure_in "$dir" "$@"
		printf '%s\n' "$wanted" >"$dir/configured-as"
	fi
	say "building in $dir (log: $dir-make.log)"
	logged "$dir-make.log" make -C "$dir" -j "$(nproc)"
}

configure_in() (
	cd "$1" && shift && ../../configure "$@"
)
