#!/usr/bin/env bash
# Makes the environment of `make demo`, `make test` and `make check`: ROS 2 from PyPI wheels, the
# pinned packages, the messages in ros/, and the checkout itself, editable, in one virtual
# environment that needs no sourcing. Run it as `make setup`. What is done already is not done again.
#
#   PYTHON  the interpreter to use (default: the first fitting one on PATH)
#   ROS     jazzy (default) or kilted
#   VENV    the folder to make (default: .venv, .venv-kilted)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ROS=${ROS:-jazzy}
PYTHON=${PYTHON:-}
VENV=${VENV:-.venv$([ "$ROS" = jazzy ] || echo "-$ROS")}
PYTORCH_INDEX=https://download.pytorch.org/whl/cpu
INPUTS=(scripts/setup.sh requirements/*.txt ros/type_hashes.txt ros/*_msgs/*.* ros/*_msgs/msg/*
        package.xml setup.py setup.cfg)

# A ROS distribution that was sourced would mix its Python packages into the wheels' ones.
unset PYTHONPATH PYTHONHOME AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=no PIP_REQUIRE_VIRTUALENV=no

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 2; }
hash_of() { cat "$@" | sha256sum | cut -c1-16; }

version_of() { # PYTHON: "3.11", or nothing where it does not run
    "$1" -ISc 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

fits() { case $1 in 3.10 | 3.11 | 3.12 | 3.13) ;; *) return 1 ;; esac; }

choose_python() {
    local versions="3.10, 3.11, 3.12 or 3.13" candidate found
    if [ -n "$PYTHON" ]; then
        found=$(version_of "$PYTHON")
        [ -n "$found" ] || die "PYTHON=$PYTHON does not run; expected a Python $versions, as in: make PYTHON=python3.12 setup"
        fits "$found" || die "PYTHON=$PYTHON is Python $found; the ROS 2 wheels exist for $versions, as in: make PYTHON=python3.12 setup"
        return
    fi
    for candidate in "$VENV/bin/python" python3 python3.12 python3.13 python3.11 python3.10; do
        if fits "$(version_of "$candidate")"; then PYTHON=$candidate; return; fi
    done
    found=$(version_of python3)
    [ -n "$found" ] || die "no python3 found; install Python $versions: sudo apt install python3 python3-venv python3-dev"
    die "python3 is Python $found; the ROS 2 wheels exist for $versions: install one of them, then: make PYTHON=python3.12 setup"
}

check_machine() {
    local tool version
    case $ROS in jazzy | kilted) ;; *) die "ROS=$ROS is not known; expected jazzy or kilted" ;; esac
    [ "$(uname -sm)" = "Linux x86_64" ] ||
        die "the ROS 2 wheels exist for Linux x86_64, this is $(uname -sm); build with colcon in a ROS 2 distribution instead (README.md)"
    for tool in gcc g++ make; do
        command -v "$tool" >/dev/null || die "no $tool found; it builds the messages in ros/: sudo apt install build-essential"
    done
    choose_python
    version=$(version_of "$PYTHON")
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        die "Python $version has no venv module: sudo apt install python$version-venv"
    [ -f "$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] ||
        die "Python $version has no headers (Python.h): sudo apt install python$version-dev"
}

run() { # WHAT COMMAND...: output goes to the log, on a terminal its last line is seen as well
    local what=$1 log=$VENV/.setup/log
    shift
    say "$what"
    if [ -t 2 ]; then
        "$@" 2>&1 | tee "$log" | awk '{ printf "\r\033[K  %.90s", $0; fflush() } END { printf "\r\033[K" }' >&2
    else
        "$@" >"$log" 2>&1
    fi
}

no_network() { # does the log of the last `run` say so?
    grep -qE 'NewConnectionError|NameResolutionError|Failed to establish|Temporary failure in name|Connect(ion)?Timeout|Read ?timed out|ProxyError|ConnectionReset' "$VENV/.setup/log"
}

not_offered() { # was that all that went wrong?
    grep -q 'No matching distribution found' "$VENV/.setup/log" && ! no_network
}

explain() { # WHAT: why the last `run` failed, in one line
    local log=$VENV/.setup/log
    if grep -q 'No space left on device' "$log"; then
        die "$1 failed: the disk is full; $VENV needs about 2 GB (8 GB with CUDA): free some, then run make setup again"
    elif no_network; then
        die "$1 failed: no network, or the package index (PyPI) cannot be reached; what is done is kept: run make setup again when it can"
    elif not_offered; then
        die "$1 failed: pip's index does not have $(grep -o 'No matching distribution found for.*' "$log" | head -1 | cut -d' ' -f6-); see $log"
    fi
    die "$1 failed: $(grep -i error "$log" | tail -1 | cut -c1-160); see $log"
}

step() { # NAME KEY FUNCTION WHAT: run the function unless it was done with this key
    local stamp=$VENV/.setup/$1
    [ "$(cat "$stamp" 2>/dev/null)" = "$2" ] && return
    "$3" "$4" || explain "$4"
    echo "$2" >"$stamp.part"
    mv "$stamp.part" "$stamp"
}

install() { "$VENV/bin/python" -m pip install --prefer-binary "$@"; }

make_venv() {
    if [ -e "$VENV" ] && [ ! -d "$VENV/.setup" ]; then
        die "$VENV is there, and was not made by make setup; move it away, or use another: make VENV=.venv-other setup"
    fi
    # A virtual environment made by another one would lose its interpreter with it.
    PYTHON=$("$PYTHON" -ISc 'import os, sys; print(os.path.realpath(sys.executable))')
    rm -rf "$VENV"
    mkdir -p "$VENV/.setup"
    run "$1" "$PYTHON" -m venv "$VENV" || return
    # `python` then finds the messages' libraries without anybody sourcing a set-up file.
    cat >"$(site_packages)/fourd_perception_environment.pth" <<'PTH'
import os, sys; os.environ["AMENT_PREFIX_PATH"] = os.pathsep.join(dict.fromkeys([sys.prefix, *filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))]))
PTH
}

site_packages() { echo "$VENV"/lib/python3.*/site-packages; }

has_gpu() { [ -e /proc/driver/nvidia/version ] || nvidia-smi -L 2>/dev/null | grep -q GPU; }

reachable() { # URL, within five seconds
    "$VENV/bin/python" -ISc 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=5)' "$1" 2>/dev/null
}

install_torch() {
    local torch
    torch=$(grep '^torch==' requirements/torch.txt)
    if ! has_gpu; then # the CPU build is a tenth of the size
        run "$1 (CPU build)" install -c requirements/constraints.txt "$torch+cpu" && return
        # pip says in several ways that it has no such build; what else went wrong would go wrong again.
        if no_network || grep -q 'No space left on device' "$VENV/.setup/log"; then return 1; fi
        if reachable "$PYTORCH_INDEX/torch/"; then
            run "$1 (CPU build, from $PYTORCH_INDEX)" \
                install -c requirements/constraints.txt --extra-index-url "$PYTORCH_INDEX" "$torch+cpu" && return
        fi
    fi
    run "$1 (CUDA build, about 3 GB)" install -c requirements/constraints.txt "$torch"
}

install_packages() {
    run "$1" install -c requirements/constraints.txt -r requirements/torch.txt -r requirements/base.txt \
        -r requirements/development.txt
}

install_ros() { run "$1" install -c requirements/constraints.txt -c "requirements/constraints-$ROS.txt" -r "requirements/ros-$ROS.txt"; }

correct_cmake_paths() {
    # The wheels' CMake files name the headers of the Python that they were built with.
    local include numpy
    include=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    numpy=$("$VENV/bin/python" -c 'import numpy; print(numpy.get_include())')
    grep -rlZ --include='*.cmake' /opt/python/cp3 "$VENV/share" | xargs -0r sed -i -E \
        -e "s#/opt/python/cp3[0-9]+-cp3[0-9]+/include/python3\.[0-9]+#$include#g" \
        -e "s#/opt/python/cp3[0-9]+-cp3[0-9]+/lib/python3\.[0-9]+/site-packages/numpy/_?core/include#$numpy#g"
}

build_messages() {
    local prefix build package type hash
    prefix=$(realpath "$VENV")
    build=$prefix/.setup/build
    "$prefix/bin/cmake" --version >/dev/null 2>&1 ||
        die "no cmake that runs: the wheel that pip installed does not; see: $VENV/bin/cmake --version"
    correct_cmake_paths
    for package in vision_msgs tf2_msgs; do
        rm -rf "$build"
        run "$1: configure $package" env PATH="$prefix/bin:$PATH" AMENT_PREFIX_PATH="$prefix" \
            cmake -S "ros/$package" -B "$build" \
            -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_BUILD_TYPE=Release \
            -DPython3_EXECUTABLE="$prefix/bin/python" -DBUILD_TESTING=OFF -Wno-dev || return
        run "$1: $package" env PATH="$prefix/bin:$PATH" AMENT_PREFIX_PATH="$prefix" \
            cmake --build "$build" --target install --parallel "$(nproc)" || return
        rm -rf "$build"
    done
    while read -r type hash; do
        grep -q "\"$hash\"" "$prefix/share/${type}.json" ||
            die "$type does not have the type hash of the package upstream ($hash); a robot would not understand it"
    done <ros/type_hashes.txt
}

install_checkout() {
    run "$1" install --no-deps --no-build-isolation --use-pep517 --editable . || return
    # An editable install leaves out what colcon puts into share/: link it, so that it is never old.
    local share=$VENV/share/fourd_perception index=$VENV/share/ament_index/resource_index/packages
    rm -rf "$share"
    mkdir -p "$share" "$index"
    ln -sfn "$PWD"/{package.xml,launch,config,models} "$share/"
    ln -sfn "$PWD/resource/fourd_perception" "$index/fourd_perception"
    # Where launch and `ros2 run` look for a package's programs.
    mkdir -p "$VENV/lib/fourd_perception"
    ln -sfn ../../bin/{recognizer,play_bag,make_bag,demo} "$VENV/lib/fourd_perception/"
}

try_out() {
    run "$1" "$VENV/bin/python" -c 'import rclpy, torch, numba, vision_msgs.msg, fourd_perception; rclpy.init()'
}

key="$PWD $ROS $(hash_of "${INPUTS[@]}")"
current=$(version_of "$VENV/bin/python")
if [ "$(cat "$VENV/.setup/all" 2>/dev/null)" = "$key" ] && [ -n "$current" ] &&
    [ "$(version_of "${PYTHON:-$VENV/bin/python}")" = "$current" ]; then
    exit 0
fi

exec 9<scripts/setup.sh
if ! flock --nonblock 9; then # two at once would write over each other
    say "waiting for another make setup to end"
    flock 9
fi
check_machine
version=$(version_of "$PYTHON")
[ "$current" = "$version" ] || rm -f "$VENV/.setup/venv" # the interpreter is gone, or another is wanted
step venv "$PWD $ROS $version" make_venv "making $VENV with Python $version"
step torch "$(hash_of requirements/torch.txt requirements/constraints.txt)" install_torch "installing torch"
step packages "$(hash_of requirements/{torch,base,development,constraints}.txt)" install_packages "installing the packages of requirements/"
step ros "$(hash_of requirements/{,constraints-}*"$ROS".txt)" install_ros "installing ROS 2 ${ROS^}"
step messages "$(cat "$VENV/.setup/ros") $(hash_of ros/type_hashes.txt ros/*_msgs/*.* ros/*_msgs/msg/*)" build_messages "building the messages in ros/"
step checkout "$(hash_of setup.py setup.cfg package.xml)" install_checkout "installing fourd_perception (editable)"
try_out "trying it out" || explain "trying it out"
echo "$key" >"$VENV/.setup/all"
say "done in $SECONDS s: $VENV"
