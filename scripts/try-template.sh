#!/usr/bin/env bash
# Prints the queries of a file of analysis-templates/ with its arguments filled in, to be tried on past data:
#
#   scripts/try-template.sh analysis-templates/success-rate.yaml rollout=web namespace=shop canary-hash='[a-z0-9]+'
#
# That hash stands for every version, of a Deployment as well: their pods have names of the same form (and so have those of
# another workload whose name begins with this one's). Several queries are a blank line apart. Arguments that are not
# given have the template's own value. `promtool query range`, Grafana's Explore, or the page of Prometheus answers a query.
set -euo pipefail

fail() {
  printf '%s\n' "$1" >&2
  exit 1
}

(($# > 0)) || fail "usage: $0 FILE [ARGUMENT=VALUE]..."
file=$1
shift
[[ -r $file ]] || fail "$file cannot be read"

# The text of the file's `args` as lines of name and value; without a value, of the name alone.
defaults() {
  awk '/^  args:/ {inside = 1} /^  metrics:/ {inside = 0}
    inside && /- name: / {printf "%s%s", separator, $3; separator = "\n"}
    inside && /^      value: / {sub(/^      value: /, ""); if (/^".*"$/) $0 = substr($0, 2, length($0) - 2); printf " %s", $0}
    END {print ""}' "$file"
}

declare -A values=() known=()
while read -r name value; do
  known[$name]=1
  if [[ -n $value ]]; then values[$name]=$value; fi
done < <(defaults)
for argument in "$@"; do
  name=${argument%%=*}
  [[ $argument == *=* ]] || fail "'$argument' is not ARGUMENT=VALUE"
  [[ -n ${known[$name]:-} ]] || fail "$file has no argument '$name'; it has: ${!known[*]}"
  values[$name]=${argument#*=}
done
for name in "${!known[@]}"; do
  [[ -n ${values[$name]:-} ]] || fail "'$name' has no value; add $name=VALUE"
done

queries=$(awk '/^          query: \|/ {if (some) print ""; some = inside = 1; next} !/^            / {inside = 0} inside {print substr($0, 13)}' "$file")
for name in "${!values[@]}"; do
  queries=${queries//"{{args.$name}}"/"${values[$name]}"}
done
printf '%s\n' "$queries"
