#!/usr/bin/env bash
# Says what is missing to compile Serin, with the line that installs it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lacks() {
  printf '%s; install it:\n    %s\n' "$1" "$2" >&2
  exit 1
}

readonly rustup="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y && . ~/.cargo/env"
needed=$(sed -nE 's/^rust-version = "([0-9.]+)"$/\1/p' Cargo.toml)
command -v cargo >/dev/null || lacks "Rust is missing" "$rustup"
# Where cargo is rustup's, this installs the toolchain that rust-toolchain.toml names.
if ! version=$(cargo --version); then
  lacks "the toolchain of rust-toolchain.toml is missing" "rustup toolchain install"
fi
version=$(sed -nE 's/^cargo ([0-9.]+).*/\1/p' <<<"$version")
if [[ $(printf '%s\n%s\n' "$needed" "$version" | sort -V | head -n 1) != "$needed" ]]; then
  lacks "cargo $version is too old, $needed or newer is needed" "$rustup"
fi
command -v cc >/dev/null || lacks "a C compiler is missing, which links" "sudo apt-get install build-essential"
# They build the OpenSSL of libgit2 (docs/adr/0010).
for tool in make perl; do
  command -v "$tool" >/dev/null || lacks "$tool is missing" "sudo apt-get install $tool"
done
