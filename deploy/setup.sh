#!/usr/bin/env bash
# Puts what xdpctl needs onto a Debian machine. Run by the Makefile; safe to run again.
#
#   deploy/setup.sh runtime   BCC from Debian and .venv with the service (make setup)
#   deploy/setup.sh demo      also dnsdist and dig, for the demo           (make demo)
#   deploy/setup.sh dev       also the linters and pytest, in .venv only   (make test-unit)
#   deploy/setup.sh test      also the real peers that the tests talk to   (make test)
#   deploy/setup.sh bench     also what is compared with, and the plotter  (make bench-drop)
#   deploy/setup.sh deb       what the package is built with               (make deb)
#   deploy/setup.sh deb-test  also what it is tried out in and with        (make test-packages)
#   deploy/setup.sh kernels   also qemu, which boots other kernels         (make test-kernels)
#   deploy/setup.sh fuzz      also clang and libFuzzer                     (make fuzz-coverage)
#
# Only what is missing is installed, with apt-get and pip as this machine has them set
# up. A package that brings a service neither starts nor enables it: a policy-rc.d that
# denies is in place while apt-get runs, and the units of newly installed packages are
# disabled. Packages that were installed before stay as they are.
set -euo pipefail

cd "$(dirname "$0")/.."
venv=.venv
build_requirements=deploy/build-requirements.txt

runtime_packages=(python3 python3-venv python3-bpfcc)
demo_packages=(iproute2 ethtool curl dnsdist bind9-dnsutils)
# gcc: the packet headers on the host. knot-dnsutils: kdig, TCP and cookies by option.
# unbound, bind9: resolvers as clients; with knot and nsd: servers behind the filter. fail2ban: runs our action. prometheus: promtool.
# exabgp, fastnetmon, crowdsec-custom-bouncer: run our adapters.
# pdns-server, with a database of its own by sqlite3: with bind9, knot and nsd the primaries of a zone.
# iputils-ping: neighbours. systemd: rates the unit. chromium: shows the web page. bpftrace: looks into named.
# tcpdump, tshark, fstrm-bin and both dnstap readers: what samples are written as. xdp-tools, bpftool: what they show of the filter.
test_packages=(gcc libc6-dev clang-format-14 shellcheck knot-dnsutils unbound bind9 knot nsd prometheus
    iputils-ping fail2ban debian-archive-keyring strace systemd chromium chromium-driver bpftrace
    exabgp fastnetmon crowdsec-custom-bouncer pdns-server pdns-backend-sqlite3 sqlite3 tcpdump tshark xdp-tools bpftool fstrm-bin dnstap-ldns golang-github-dnstap-golang-dnstap-cli)
bench_packages=(nftables iptables ipset)
deb_packages=(dpkg binutils) # binutils: strip
# podman and crun: the image is built and run.
deb_test_packages=(debootstrap lintian podman crun)
fuzz_packages=(clang-14 libclang-rt-14-dev)
kernel_packages=(qemu-system-x86 qemu-system-common busybox-static)

say() { printf 'setup: %s\n' "$*" >&2; }

# --- Debian's packages ------------------------------------------------------------

missing_packages() {
    local package
    for package in "$@"; do
        # dpkg-query, not apt: it answers at once and without any package list
        if [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null)" != 'ii ' ]; then
            printf '%s\n' "$package"
        fi
    done
}

policy=/usr/sbin/policy-rc.d
saved_policy=$policy.before-xdpctl
absent_policy=$policy.absent-before-xdpctl

restore_policy() {
    if [ -e "$absent_policy" ]; then
        rm -f "$policy" "$absent_policy"
    elif [ -e "$saved_policy" ] || [ -L "$saved_policy" ]; then
        mv -f "$saved_policy" "$policy"
    fi
}

deny_services() {
    restore_policy # a run that was killed left its notes
    trap restore_policy EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    if [ -e "$policy" ] || [ -L "$policy" ]; then
        mv "$policy" "$saved_policy"
    else
        touch "$absent_policy"
    fi
    printf '#!/bin/sh\n# xdpctl: while apt-get runs\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

disable_units_of() {
    local package file
    for package in "$@"; do
        while read -r file; do
            case $file in
            */systemd/system/*@.*) ;; # a template is enabled by instance only
            */systemd/system/*.service | */systemd/system/*.socket | */systemd/system/*.timer | */systemd/system/*.path)
                deb-systemd-helper --quiet disable "${file##*/}" 2>/dev/null || true
                ;;
            /etc/init.d/*)
                update-rc.d "${file##*/}" disable >/dev/null 2>&1 || true
                ;;
            esac
        done < <(dpkg-query -L "$package" 2>/dev/null)
    done
}

installed_packages() { dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' | sed -n 's/^ii  //p' | sort -u; }

apt_get() { # its output is shown when it fails
    local output
    output=$(apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" </dev/null 2>&1) || {
        printf '%s\n' "$output" >&2
        say "apt-get $1 failed, its output is above"
        exit 1
    }
}

# Runs as root, in a process of its own, so that the trap restores also on failure.
install_packages() {
    local before new
    export DEBIAN_FRONTEND=noninteractive
    before=$(installed_packages)
    deny_services
    apt_get update
    apt_get install -y --no-install-recommends "$@"
    mapfile -t new < <(comm -13 <(printf '%s\n' "$before") <(installed_packages))
    disable_units_of "${new[@]}"
}

need_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -eq 0 ] && return
    say "installing ${missing[*]}"
    if [ "$(id -u)" -eq 0 ]; then
        "$0" packages "${missing[@]}"
    elif command -v sudo >/dev/null; then
        sudo "$0" packages "${missing[@]}"
    else
        say "cannot install as this user: run as root: apt-get install ${missing[*]}"
        exit 1
    fi
}

# --- the virtual environment ------------------------------------------------------

make_venv() {
    # Debian's interpreter, because Debian's BCC is built for it, and no other
    if ! grep -qs '^include-system-site-packages = true' $venv/pyvenv.cfg || ! $venv/bin/python -c '' 2>/dev/null; then
        say "making $venv"
        /usr/bin/python3 -m venv --clear --system-site-packages $venv
    fi
}

install_project() { # install_project runtime|dev|bench|packages
    local hash what=.
    hash=$({ /usr/bin/python3 --version; pwd; cat pyproject.toml $build_requirements; } | sha256sum)
    [ "$1" = runtime ] && [ "$(cat $venv/.setup-dev 2>/dev/null)" = "$hash" ] && return
    [ "$(cat "$venv/.setup-$1" 2>/dev/null)" = "$hash" ] && return
    [ "$1" = runtime ] || what=".[$1]"
    say "installing $what into $venv"
    # What builds is exactly what is listed, and nothing is fetched to build with. The service's
    # own libraries and the tools of the tests are not pinned: the package has Debian's.
    $venv/bin/python -m pip install --quiet --no-deps --only-binary=:all: --require-hashes \
        --requirement $build_requirements
    $venv/bin/python -m pip install --quiet --no-build-isolation --editable "$what"
    printf '%s\n' "$hash" >"$venv/.setup-$1"
}

# ----------------------------------------------------------------------------------

case ${1-} in
runtime)
    need_packages "${runtime_packages[@]}"
    make_venv
    install_project runtime
    ;;
demo)
    need_packages "${runtime_packages[@]}" "${demo_packages[@]}"
    make_venv
    install_project runtime
    ;;
dev)
    need_packages "${runtime_packages[@]}"
    make_venv
    install_project dev
    ;;
test)
    need_packages "${runtime_packages[@]}" "${demo_packages[@]}" "${test_packages[@]}"
    make_venv
    install_project dev
    ;;
bench)
    "$0" test
    need_packages "${bench_packages[@]}"
    install_project bench
    ;;
deb)
    need_packages "${runtime_packages[@]}" "${deb_packages[@]}"
    make_venv
    install_project dev
    ;;
deb-test)
    "$0" kernels
    need_packages "${deb_packages[@]}" "${deb_test_packages[@]}"
    install_project packages
    ;;
fuzz)
    "$0" dev
    need_packages "${fuzz_packages[@]}"
    ;;
kernels)
    "$0" test
    need_packages "${kernel_packages[@]}"
    ;;
packages)
    shift
    install_packages "$@"
    ;;
*)
    sed -n 's/^# \{0,1\}//; 2,17p' "$0" >&2
    exit 2
    ;;
esac
