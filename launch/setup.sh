# Sets up what a build needs; sourced by the other scripts, from the repository's root.
#
# Packages come from Debian, LibTorch from PyPI's torch wheel. A folder ${WATTLE_CACHE:-~/.cache/wattle},
# where there is one, keeps downloads between checkouts; without it they go to .deps/.

torch_version=2.11.0
cuda_wheels="nvidia-cuda-runtime==13.0.* nvidia-cuda-cupti==13.0.*"

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

# The folder for downloads and unpacked archives.
cache_dir() {
  local cache=${WATTLE_CACHE:-$HOME/.cache/wattle}
  if [ -d "$cache" ]; then echo "$cache"; else echo "$PWD/.deps"; fi
}

# install_packages [list]: what is missing of a list of Debian packages.
install_packages() {
  local wanted missing
  wanted=$(grep -v '^#' "${1:-launch/packages.txt}")
  missing=$(comm -23 <(sort <<<"$wanted") \
    <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u))
  [ -z "$missing" ] && return
  if [ "$(id -u)" != 0 ]; then
    echo "Debian packages are missing. Ask an administrator to run:" >&2
    echo "  apt-get install --no-install-recommends" $missing >&2
    exit 1
  fi
  say "Installing Debian packages:" $missing
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# The wheel's headers and libraries; its side libraries for CUDA lie beside it, where its rpath looks.
fetch_libtorch() {
  local root wheels
  [ -e .deps/libtorch/torch/lib/libtorch_cpu.so ] && return
  root=$(cache_dir)/torch-$torch_version
  wheels=$(cache_dir)/wheels
  if [ ! -e "$root/torch/lib/libtorch_cpu.so" ]; then
    say "Fetching LibTorch $torch_version (540 MB)"
    mkdir -p "$wheels"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
      --python-version 3.11 --platform "manylinux_2_28_$(uname -m)" \
      --platform "manylinux_2_25_$(uname -m)" --platform "manylinux2014_$(uname -m)" \
      -d "$wheels" "torch==$torch_version" $cuda_wheels
    python3 launch/unpack_wheels.py "$root.part" "$wheels"/torch-$torch_version-*.whl \
      "$wheels"/nvidia_cuda_runtime-13.0.*.whl "$wheels"/nvidia_cuda_cupti-13.0.*.whl
    mv "$root.part" "$root"
  fi
  mkdir -p .deps
  ln -sfn "$root" .deps/libtorch
}

# fetch_package NAME==VERSION [flags of pip download]: one file from PyPI, kept; prints its path.
fetch_package() {
  local wheels name=${1%%==*}
  wheels=$(cache_dir)/wheels
  kept() { find "$wheels" -name "${name//-/_}-${1#*==}[-.]*" 2>/dev/null | grep -m 1 . ; }
  kept "$1" && return
  say "Fetching $1"
  mkdir -p "$wheels"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps -d "$wheels" "$@" >&2
  kept "$1"
}

# make_venv NAME REQUIREMENTS: a Python environment .deps/NAME with these packages, made again when
# the list changes.
make_venv() {
  local folder stamp
  folder=$(cache_dir)/$1
  stamp=$(sha256sum <"$2")
  mkdir -p .deps "$folder"
  [ -e ".deps/$1" ] || ln -s "$folder" ".deps/$1"
  # A kept environment whose Python is gone (another machine's, an upgrade) is made again.
  [ "$(cat ".deps/$1/requirements.sha256" 2>/dev/null)" = "$stamp" ] &&
    ".deps/$1/bin/python" -c '' 2>/dev/null && return
  say "Setting up Python packages of $2"
  python3 -m venv --clear "$(readlink -f ".deps/$1")"
  ".deps/$1/bin/python" -m pip install --quiet --disable-pip-version-check -r "$2"
  echo "$stamp" >".deps/$1/requirements.sha256"
}

# build [preset [target...]]: configures once, builds what changed, all of it unless targets are
# named. Programs land in <build folder>/bin.
build() {
  local preset=${1:-default} dir=build targets=("${@:2}")
  [ "$preset" = default ] || dir=build-$preset
  [ -e "$dir/build.ninja" ] || cmake --preset "$preset" >/dev/null
  say "Building ($preset)"
  cmake --build --preset "$preset" --parallel "$(nproc)" ${targets[@]:+--target "${targets[@]}"} >&2
}

# Flags that mpirun needs for this user and machine: it refuses root, and more ranks than cores.
mpirun_flags() {
  echo --bind-to none --oversubscribe
  [ "$(id -u)" != 0 ] || echo --allow-run-as-root
}
