#!/usr/bin/env bash
# apt.sh PACKAGE...: installs Debian packages if this user may; else says so and
# fails. The services that are in them are not started.
set -euo pipefail
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "cannot install $*: not root on a Debian machine" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d # asked before a service is started
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod +x $policy
	trap 'rm -f $policy' EXIT
fi
apt-get install -qq -y --no-install-recommends "$@" >/dev/null 2>&1 && exit
apt-get update -qq
apt-get install -qq -y --no-install-recommends "$@" >/dev/null
